"""The folder that is put before all others in a program's PYTHONPATH: one file, no more."""
