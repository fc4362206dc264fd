"""Runs it."""

from __future__ import annotations

from tests.bench.results import run

if __name__ == "__main__":
    run()
