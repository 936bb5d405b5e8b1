"""What is asked of a framework whose steps are counted; its own part of the probe answers."""


class Framework:
    """Of one that takes no notice."""

    def stirred(self):
        """Something else than a step is done."""

    def for_step(self):
        """How many samples its loaders gave since the last step; None where that is not known."""

    def first_batch(self):
        """What tells whether ranks began with the same batch; None where that is not known."""

    def forget(self):
        """As if nothing had been trained yet, which is so in a process that was forked."""
