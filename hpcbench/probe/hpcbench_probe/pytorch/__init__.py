"""Steps by the first optimizer that takes one, and what trains the same parameters later; samples
by the loader that was asked last. A file for each thing that a program does with PyTorch."""
