"""Activations of a corpus without a server, on one machine or on Ray."""
