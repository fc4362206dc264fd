"""Annotated text: reading it, labelling it by rules, keeping it, drawing from it."""
