"""Training itself: intervals and epochs, clock, checkpoint, learning rate."""
