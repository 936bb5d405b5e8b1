"""The files of a run: their columns, their writer and their reader."""
