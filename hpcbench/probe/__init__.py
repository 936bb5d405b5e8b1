"""The folder that is put before all others in a program's PYTHONPATH: what Python imports when it
starts, and the package that this lets in, no more."""
