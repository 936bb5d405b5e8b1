"""The compiled training loop, evaluation, and the clock."""
