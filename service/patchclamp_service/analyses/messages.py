"""Methods, rankings and probes as messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import cast

from google.protobuf import struct_pb2
from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.methods import METHODS, Kind, MethodInfo, Parameter, describe
from patchclamp_analysis.results import Ranking, ScoredNeuron

from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["fill_ranking", "listed_methods", "plain_values", "shown_count", "struct_of"]

_KINDS = {
    Kind.CONCEPT_TO_NEURONS: analysis_pb2.METHOD_KIND_CONCEPT_TO_NEURONS,
    Kind.NEURON_TO_CONCEPTS: analysis_pb2.METHOD_KIND_NEURON_TO_CONCEPTS,
    Kind.UNSUPERVISED: analysis_pb2.METHOD_KIND_UNSUPERVISED,
    Kind.REDUNDANCY: analysis_pb2.METHOD_KIND_REDUNDANCY,
}
_ANSWERS = {"ranking": analysis_pb2.METHOD_ANSWER_RANKING, "tables": analysis_pb2.METHOD_ANSWER_TABLES}

_TOP = 100
# Of all lists of a message together: it stays below the 4 MiB that gRPC's clients take by default.
_MOST_BYTES = 3 << 20
_NEURON_BYTES = 24  # at most, beside the name of its site


def listed_methods() -> list[analysis_pb2.Method]:
    """Every method, ordered by name."""
    return [_method(describe(METHODS[name])) for name in sorted(METHODS)]


def plain_values(message: struct_pb2.Struct, field: str) -> dict[str, object]:
    """What a Struct holds. Raises InvalidRequest for nothing and for what is no finite number."""
    return {name: _plain(value, f"{field}.{name}") for name, value in sorted(message.fields.items())}


def struct_of(values: Mapping[str, object]) -> struct_pb2.Struct:
    """The same as a Struct; tuples become lists."""
    message = struct_pb2.Struct()
    for name, value in values.items():
        message.update({name: list(value) if isinstance(value, tuple) else cast("str | float | bool", value)})
    return message


def shown_count(top: int, classes: int, sites: Iterable[str]) -> int:
    """How many neurons of these sites each list of a ranking of so many classes shows. InvalidRequest if they are too
    many."""
    longest = max(len(site.encode()) for site in sites)
    most = max(1, _MOST_BYTES // (_NEURON_BYTES + longest) // (1 + classes))
    if top > most:
        field = "top"
        text = f"{field}: {top} neurons, overall and for each of {classes} classes, are more than a message holds"
        text += f": up to {most}; ExportRanking gives all"
        raise InvalidRequest(text, reason="TOO_MANY_NEURONS", field=field)
    return top or min(_TOP, most)


def fill_ranking(message: analysis_pb2.Ranking, ranking: Ranking, top: int) -> None:
    """Adds the best neurons, overall and for each class, and where they are."""
    count = shown_count(top, len(ranking.classes), [site.name for site in ranking.neurons.sites])
    message.neurons.extend(_scored(ranking.top(count)))
    message.classes.extend(
        analysis_pb2.ClassRanking(label=name, neurons=_scored(ranking.top(count, name))) for name in ranking.classes
    )
    del message.distribution[:]
    message.distribution.extend(
        analysis_pb2.SiteCount(site=site, count=number) for site, number in ranking.distribution(count).items()
    )


def _scored(neurons: Iterable[ScoredNeuron]) -> list[analysis_pb2.ScoredNeuron]:
    return [analysis_pb2.ScoredNeuron(site=each.site, index=each.index, score=each.score) for each in neurons]


def _method(info: MethodInfo) -> analysis_pb2.Method:
    return analysis_pb2.Method(
        name=info.name,
        kind=_KINDS[Kind(info.kind)],
        summary=info.summary,
        description=info.description,
        supervised=info.supervised,
        reference=info.reference,
        complexity=info.complexity,
        parameters=map(_parameter, info.parameters),
        answer=_ANSWERS[info.answer],
        compares=info.several,
    )


def _parameter(parameter: Parameter) -> analysis_pb2.MethodParameter:
    return analysis_pb2.MethodParameter(
        name=parameter.name,
        type=parameter.kind,
        default=struct_of({"default": parameter.default}).fields["default"],
        description=parameter.about,
        min=parameter.least if math.isfinite(parameter.least) else None,
        max=parameter.most if math.isfinite(parameter.most) else None,
        choices=parameter.choices,
    )


def _plain(value: struct_pb2.Value, field: str) -> object:
    match value.WhichOneof("kind"):
        case "number_value" if math.isfinite(value.number_value):
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_plain(item, f"{field}[{place}]") for place, item in enumerate(value.list_value.values)]
    text = f"{field}: a finite number, a string, true, false or a list of numbers is wanted"
    raise InvalidRequest(text, reason="INVALID_PARAMETER", field=field)
