"""Prints a digest of what each method finds on planted data, as JSON: run in processes of their own."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
from patchclamp_analysis.methods import RANKING_METHODS

from tests.analysis.methods.planted import method, planted

__all__ = ["digest"]


def digest(name: str) -> str:
    ranking = method(name).rank(planted())
    return hashlib.sha256(np.vstack((ranking.scores, ranking.class_scores)).tobytes()).hexdigest()


if __name__ == "__main__":
    json.dump({name: digest(name) for name in RANKING_METHODS}, sys.stdout)
