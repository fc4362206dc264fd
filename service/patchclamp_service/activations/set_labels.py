"""Finding sites and labels of an activation set by the names that callers give."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.sets.set_layout import SetDescription

from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.engine.requests import ModelInfo

__all__ = ["found_label", "found_site", "nearest", "picked"]

_MOST_COMPARED = 1000

Layered = tuple[str, str]
"""A layer and one of its labels; ("", "") stands for all rows."""


def found_site(description: SetDescription, site: str, info: ModelInfo | None, field: str) -> str:
    """The site of a set; `info`: of the model, if it is there, under whatever name the model knows it."""
    sites = dict(description.sites)
    named = {f"module:{each.module}": each.name for each in info.sites} if info else {}
    name = named.get(site, site)
    if name not in sites:
        text = f"{field}: the set has no site {site!r}{nearest(site, sites)}"
        raise InvalidRequest(text, reason="UNKNOWN_SITE", field=field)
    return name


def found_label(description: SetDescription, label: str, field: str, layer: str = "") -> Layered:
    """The layer and label meant by a label. Without a layer, the label may say it: "upos/NOUN"."""
    layers = dict(description.layers)
    if layer and layer not in layers:
        text = f"layer: the set has no layer {layer!r}{nearest(layer, layers)}"
        raise InvalidRequest(text, reason="UNKNOWN_LAYER", field="layer")
    if not label:
        return "", ""
    said, _, rest = label.partition("/")
    wanted = [(layer, label)] if layer else [*((name, label) for name in layers), (said, rest)]
    found = [(name, each) for name, each in wanted if each in layers.get(name, ())]
    if len(found) == 1:
        return found[0]
    if found:
        ways = ", ".join(repr(f"{name}/{each}") for name, each in found[:10])
        text = f"{field}: {label!r} may mean {ways}: say which"
        raise InvalidRequest(text, reason="AMBIGUOUS_LABEL", field=field)
    known = layers[layer] if layer else [each for labels in layers.values() for each in labels]
    text = f"{field}: the set has no label {label!r}{nearest(label, known)}"
    raise InvalidRequest(text, reason="UNKNOWN_LABEL", field=field)


def picked(values: NDArray[np.float32], indices: Sequence[int], site: str, field: str) -> NDArray[np.float32]:
    """The values of some neurons of a site [width], or of all."""
    for place, index in enumerate(indices):
        if index >= len(values):
            raise InvalidRequest(
                f"index {index} is out of range: {site} has {len(values)} neurons, 0 to {len(values) - 1}",
                reason="INDEX_OUT_OF_RANGE",
                field=f"{field}[{place}]",
            )
    return values[list(indices)] if indices else values


def nearest(name: str, names: Collection[str]) -> str:
    """A hint for an error: "; the nearest is 'NOUN'"; none where the search would take long."""
    folded = {each.casefold(): each for each in names} if len(names) <= _MOST_COMPARED else {}
    found = difflib.get_close_matches(name[:100].casefold(), folded, n=1, cutoff=0.0)
    return f"; the nearest is {folded[found[0]]!r}" if found else ""
