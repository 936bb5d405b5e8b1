"""Layers that Keras lacks, or has only in a slow form. Each file imports Keras and TensorFlow."""
