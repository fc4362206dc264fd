"""Activation sets: a corpus run through a model into a file."""
