"""What a device can do at most: its products of matrices, and its memory."""
