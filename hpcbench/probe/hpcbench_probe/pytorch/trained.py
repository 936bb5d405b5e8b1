"""What is trained in this process."""


class Trained:
    def __init__(self):
        # The optimizer whose steps count, once it took one.
        self.optimizer = None
        # The module whose forward pass is a rank's own work, and DDP's wrapper, the last.
        self.own = None
        self.wrapper = None
        self.on_gpu = False

    def counted(self):
        """The optimizer whose steps count; None where it is gone, or none has stepped."""
        return self.optimizer and self.optimizer()

    def model(self):
        """The module whose forward pass is a rank's own work; None where none is known."""
        return self.own and self.own()


def parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


trained = Trained()
