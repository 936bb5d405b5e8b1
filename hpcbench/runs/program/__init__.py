"""A run of somebody's own program, from its start to its rows."""
