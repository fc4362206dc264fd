"""What methods read: rows of activations with their labels."""

from __future__ import annotations

from .rows import Data

__all__ = ["Data"]
