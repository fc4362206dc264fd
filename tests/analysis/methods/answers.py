"""What methods that answer with tables, or compare models, find. Prints a digest for each of some methods, as JSON: run
in processes of their own.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, ComparingMethod, Method, TableMethod
from patchclamp_analysis.progress import QUIET, Progress

from tests.analysis.methods.planted import other_method, values

__all__ = ["answer", "datas", "digest"]


def datas(name: str, x: NDArray[np.generic], labels: NDArray[np.object_], **options: object) -> dict[str, Data]:
    """As the method takes them: one of two layers; for one that compares models, a second that has its neurons turned
    round.
    """
    rows = np.arange(len(x))
    words, half = np.array([f"word{row % 20}" for row in rows.tolist()], dtype=object), (x.shape[1] + 1) // 2
    sites = {"layers.0.residual": x[:, :half], "layers.1.residual": x[:, half:]}
    options = {"words": words, "sentences": rows // 5, "label": "upos", "annotations": {"xpos": labels}} | options
    one = Data.from_arrays({site: of for site, of in sites.items() if of.size}, labels, **options)  # type: ignore[arg-type]
    if not issubclass(METHODS[name], ComparingMethod):
        return {"one": one}
    return {"one": one, "other": Data.from_arrays(x[:, ::-1], labels, **options)}  # type: ignore[arg-type]


def answer(method: Method, given: Mapping[str, Data], progress: Progress = QUIET) -> dict[str, pd.DataFrame]:
    """The tables, or a table for each ranking. Times that were measured are left out."""
    if isinstance(method, ComparingMethod):
        return {name: found.to_pandas() for name, found in method.compare(given, progress=progress).items()}
    assert isinstance(method, TableMethod)
    tables = method.tables(given, progress=progress).tables
    return {name: table.drop(columns="speed_up", errors="ignore") for name, table in tables.items()}


def digest(name: str) -> str:
    found = answer(other_method(name), datas(name, *values(300)))
    content = "".join(f"{title}\n{table.to_csv()}" for title, table in found.items())
    return hashlib.sha256(content.encode()).hexdigest()


if __name__ == "__main__":
    json.dump({name: digest(name) for name in sys.argv[1:]}, sys.stdout)
