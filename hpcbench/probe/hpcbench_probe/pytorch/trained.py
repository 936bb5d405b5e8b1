"""What is trained in this process."""

import weakref


class Trained:
    def __init__(self):
        # The optimizer whose steps count, once it took one.
        self.optimizer = None
        # What that trains, and how many sets of weights with none in common were trained so far.
        self.weights = ()
        self.models = 0
        # The module whose forward pass is a rank's own work, and DDP's wrapper, the last.
        self.own = None
        self.wrapper = None
        self.on_gpu = False

    def counted(self):
        """The optimizer whose steps count; None where it is gone, or none has stepped."""
        return self.optimizer and self.optimizer()

    def count(self, optimizer):
        """From now on the steps of this one; whether it trains nothing of what the one before did,
        which may be gone."""
        weights = parameters(optimizer)
        before = {id(weight) for known in self.weights if (weight := known()) is not None}
        another = before.isdisjoint(map(id, weights))
        self.optimizer = weakref.ref(optimizer)
        self.weights = [weakref.ref(weight) for weight in weights]
        self.models += another
        return another

    def model(self):
        """The module whose forward pass is a rank's own work; None where none is known."""
        return self.own and self.own()


def parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


trained = Trained()
