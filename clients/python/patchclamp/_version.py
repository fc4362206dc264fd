"""The version of the distribution, as pyproject.toml has it."""

__version__ = "0.1.0"
