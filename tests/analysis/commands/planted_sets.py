"""Sets of planted neurons on disk, with the same activations, words and labels as files of NeuroX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from patchclamp_analysis.neurox.exchange import export_neurox
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.analysis.methods.planted import CLASSES, values
from tests.analysis.stored_sets import example, write

QUICK = ["-k", "3", "-k", "50%", "--seeds", "1", "--epochs", "5"]


def planted_set(path: Path, rows: int, seed: int, width: int = 20) -> Path:
    """Two sites of half of the neurons each; sentences of ten words."""
    x, labels = values(rows, width, seed)
    halves = {"layers.0.residual": x[:, : width // 2], "layers.1.residual": x[:, width // 2 :]}
    drawn = example(
        rows, {"layers.0.residual": width // 2, "layers.1.residual": width - width // 2}, layers={"upos": CLASSES}
    )
    content = replace(
        drawn,
        sentences=np.arange(rows) // 10,
        places=(np.arange(rows) % 10).astype(np.int32),
        words=[f"word{number % 37}" for number in range(rows)],
        labels={"upos": labels.tolist()},
        masked=np.arange(rows) % 50 == 49,
        values=halves,
    )
    write(content, path)
    return path


def as_neurox(path: Path) -> None:
    """Writes the set beside itself as .hdf5 and .json of NeuroX, with .words and .upos."""
    with ActivationSet.open(path) as stored:
        for suffix in (".hdf5", ".json"):
            export_neurox(stored, path.with_suffix(suffix))
        for suffix, column in ((".words", stored.words), (".upos", stored.labels("upos"))):
            sentences = np.split(column, stored.sentence_offsets[1:-1])
            path.with_suffix(suffix).write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
