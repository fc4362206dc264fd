"""What can be said of an analysis before it runs: refusals that cost nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TypeVar

from google.protobuf import struct_pb2
from patchclamp.v1 import activations_pb2
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods import METHODS, ComparingMethod, Method, RankingMethod, TableMethod, build

from patchclamp_service.activations.set_labels import nearest
from patchclamp_service.analyses.messages import plain_values
from patchclamp_service.engine.errors import InvalidRequest, Unsupported

__all__ = [
    "built",
    "check_same_model",
    "check_sites",
    "check_words",
    "chosen_layer",
    "chosen_sites",
    "label_count",
    "method_named",
    "table_method",
]

M = TypeVar("M", bound=Method)

# What some methods need beside the rest, and the extra that has it.
_PACKAGES = {"umap_kmeans": ("umap", "umap")}
_BY_SENTENCE = (
    activations_pb2.SENTENCE_FIRST,
    activations_pb2.SENTENCE_LAST,
    activations_pb2.SENTENCE_AVERAGE,
    activations_pb2.SENTENCE_MAX,
)
_PATTERN = re.compile(r"(?:encoder\.|decoder\.)?layers\.\*\.\w+")


def method_named(name: str) -> type[RankingMethod] | type[ComparingMethod]:
    """The method of that name that ranks neurons."""
    kind = METHODS.get(name)
    if kind is not None and issubclass(kind, RankingMethod | ComparingMethod):
        return kind
    if kind is not None:
        text = f"method: {name} answers with tables, not with a ranking: AnalyzeActivations runs it"
        raise InvalidRequest(text, reason="ANSWERS_WITH_TABLES", field="method")
    known = [each for each, kind in METHODS.items() if not issubclass(kind, TableMethod)]
    text = f"method: there is no method {name!r}{nearest(name, known)}"
    raise InvalidRequest(text, reason="UNKNOWN_METHOD", field="method")


def table_method(name: str) -> type[TableMethod]:
    """The method of that name that answers with tables, if what it needs is installed."""
    kind = METHODS.get(name)
    if kind is not None and not issubclass(kind, TableMethod):
        text = f"method: {name} answers with a ranking, not with tables: RankNeurons runs it"
        raise InvalidRequest(text, reason="ANSWERS_WITH_RANKING", field="method")
    if kind is None:
        known = [each for each, kind in METHODS.items() if issubclass(kind, TableMethod)]
        text = f"method: there is no method {name!r}{nearest(name, known)}"
        raise InvalidRequest(text, reason="UNKNOWN_METHOD", field="method")
    package, extra = _PACKAGES.get(name, ("", ""))
    if package and find_spec(package) is None:
        text = f"method: {name} needs a package that this server lacks: pip install 'patchclamp[service,{extra}]'"
        raise Unsupported(text, reason="NOT_INSTALLED", field="method")
    return kind


def built(method: type[M], parameters: struct_pb2.Struct) -> M:
    """The method with these hyper-parameters."""
    try:
        return build(method, plain_values(parameters, "parameters"))
    except BadData as error:
        field = f"parameters.{error.where.partition('.')[2]}"
        text = f"{field}: {error.message}"
        raise InvalidRequest(text, reason="INVALID_PARAMETER", field=field) from error


def chosen_layer(stored: activations_pb2.ActivationSet, label: str, *, supervised: bool, field: str = "label") -> str:
    """The layer of labels that is meant; "" for a method without labels."""
    layers = [layer.name for layer in stored.layers]
    if label and not supervised:
        raise InvalidRequest("label: this method uses no labels; leave it out", reason="LABEL_UNUSED", field="label")
    if label and label not in layers:
        text = f"{field}: {stored.name} has no layer {label!r}{nearest(label, layers)}"
        raise InvalidRequest(text, reason="UNKNOWN_LAYER", field=field)
    if label or not supervised:
        return label
    if len(layers) != 1:
        which = f"say which layer of labels: {', '.join(layers)}" if layers else f"{stored.name} has no labels"
        raise InvalidRequest(f"label: {which}", reason="LAYER_NEEDED", field="label")
    return layers[0]


def label_count(stored: activations_pb2.ActivationSet, layer: str) -> int:
    """How many classes a layer has."""
    return next((len(each.labels) for each in stored.layers if each.name == layer), 0)


def chosen_sites(stored: activations_pb2.ActivationSet, wanted: Sequence[str]) -> tuple[str, ...]:
    """The sites that are meant, in the order of the set; none: all."""
    names = [site.site for site in stored.sites]
    if not wanted:
        return tuple(names)
    chosen: set[str] = set()
    for place, pattern in enumerate(wanted):
        found = set(_matching(names, pattern))
        if not found:
            text = f"sites[{place}]: {stored.name} has no site {pattern!r}{nearest(pattern, names)}"
            raise InvalidRequest(text, reason="UNKNOWN_SITE", field=f"sites[{place}]")
        chosen |= found
    return tuple(name for name in names if name in chosen)


def check_same_model(stored: activations_pb2.ActivationSet, name: str, digest: str, field: str) -> None:
    """Unsupported if `name` is about the neurons of another model than the set's."""
    if stored.model_digest != digest:
        text = f"{field}: {name} is about the neurons of another model than {stored.model}, which {stored.name} is of"
        raise Unsupported(text, reason="ANOTHER_MODEL", field=field)


def check_words(aggregation: activations_pb2.Aggregation.ValueType, name: str, field: str) -> None:
    """Unsupported unless the rows of such a set, or text, are words or tokens."""
    if aggregation in _BY_SENTENCE:
        text = f"{field}: the rows of {name} are sentences, not words"
        raise Unsupported(text, reason="NEEDS_WORDS", field=field)


def check_sites(
    stored: activations_pb2.ActivationSet, wanted: Sequence[str], name: str, field: str = "activation_set"
) -> None:
    """InvalidRequest unless the set has all sites that `name` needs."""
    there = {site.site for site in stored.sites}
    for site in wanted:
        if site not in there:
            text = f"{field}: {stored.name} has no site {site!r}, which {name} needs"
            raise InvalidRequest(text, reason="UNKNOWN_SITE", field=field)


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    if not _PATTERN.fullmatch(pattern):
        return [name for name in names if name == pattern]
    regular = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
    return [name for name in names if regular.fullmatch(name)]
