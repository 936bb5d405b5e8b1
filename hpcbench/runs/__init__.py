"""A run from its first collective to its last file."""
