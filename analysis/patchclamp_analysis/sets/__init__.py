"""Activation sets: one HDF5 file of activations with its words and labels."""
