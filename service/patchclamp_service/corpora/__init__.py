"""Corpora: uploads, annotation, what is kept of them."""
