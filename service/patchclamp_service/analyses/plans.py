"""What a request to AnalyzeActivations means, if it can be done: method, rows and neurons."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods import Kind, TableMethod
from patchclamp_analysis.results import Ranking

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses.checks import (
    built,
    check_same_model,
    check_sites,
    check_words,
    chosen_layer,
    chosen_sites,
    table_method,
)
from patchclamp_service.analyses.live_text import LiveTexts, Reading
from patchclamp_service.analyses.neuron_choice import Choice, check_neurons
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.engine.errors import InvalidRequest, Unsupported

__all__ = ["AnalysisPlan", "AnalysisPlans"]

_TOP = 10
# Of methods that say something of each neuron: their tables have rows for each.
_MOST_NEURONS = 20_000

Request = analysis_pb2.AnalyzeActivationsRequest


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """What a request means. Either sets, the one that is looked at first, or a text."""

    method: TableMethod
    layer: str
    choice: Choice
    sets: tuple[activations_pb2.ActivationSet, ...] = ()
    reading: Reading | None = None


class AnalysisPlans:
    """Makes plans of requests."""

    def __init__(self, sets: ActivationSets, rankings: Rankings, texts: LiveTexts) -> None:
        self._sets = sets
        self._rankings = rankings
        self._texts = texts

    async def of(self, request: Request) -> AnalysisPlan:
        """What the request means. Raises InvalidRequest, NotFound, Unsupported, or for a text what ExtractActivations
        raises."""
        method = built(table_method(request.method), request.parameters)
        _check_choices(request)
        return await (self._of_text if request.HasField("text") else self._of_sets)(request, method)

    async def _of_sets(self, request: Request, method: TableMethod) -> AnalysisPlan:
        kind = type(method)
        if request.compare_with and not kind.several:
            text = f"compare_with: {request.method} compares nothing; leave it out"
            raise InvalidRequest(text, reason="SETS_UNUSED", field="compare_with")
        stored = await self._sets.get(request.activation_set, "activation_set")
        if kind.kind is Kind.NEURON_TO_CONCEPTS:
            check_words(stored.aggregation, stored.name, "activation_set")
        layer = chosen_layer(stored, request.label, supervised=kind.supervised or bool(request.label))
        sets = (stored, *await self._others(request, layer))
        widths = {site.site: site.width for site in stored.sites}
        if request.ranking:
            message, choice = await self._best(request)
            check_same_model(stored, message.name, message.model_digest, "ranking")
            check_sites(stored, choice.sites, message.name)
        elif request.neurons:
            check_neurons(request.neurons, widths, stored.name)
            choice = Choice.listed(request.neurons)
        else:
            choice = Choice.of_sites(chosen_sites(stored, request.sites))
        _check_count(kind, choice.count(widths))
        return AnalysisPlan(method, layer, choice, sets)

    async def _of_text(self, request: Request, method: TableMethod) -> AnalysisPlan:
        _check_text(request, method)
        if request.ranking:
            message, choice = await self._best(request)
            reading = await self._texts.check(request.text, choice.sites, ["ranking"] * len(choice.sites))
            if reading.engine.info.digest != message.model_digest:
                text = f"ranking: {message.name} is about the neurons of another model than {reading.model}"
                raise Unsupported(text, reason="ANOTHER_MODEL", field="ranking")
        elif request.neurons:
            neurons = await self._texts.named(request.text, request.neurons)
            fields = [f"neurons[{number}].site" for number in range(len(neurons))]
            reading = await self._texts.check(request.text, [each.site for each in neurons], fields)
            check_neurons(neurons, reading.widths, reading.model)
            choice = Choice.listed(neurons)
        else:
            fields = [f"sites[{number}]" for number in range(len(request.sites))]
            reading = await self._texts.check(request.text, request.sites, fields)
            choice = Choice.of_sites(list(reading.widths))
        _check_count(type(method), choice.count(reading.widths))
        return AnalysisPlan(method, "", choice, reading=reading)

    async def _others(self, request: Request, layer: str) -> list[activations_pb2.ActivationSet]:
        """The sets to compare with, each once."""
        found = []
        for place, name in enumerate(request.compare_with):
            field = f"compare_with[{place}]"
            if name in (request.activation_set, *request.compare_with[:place]):
                raise InvalidRequest(f"{field}: {name!r} is given twice", reason="GIVEN_TWICE", field=field)
            stored = await self._sets.get(name, field)
            if layer:
                chosen_layer(stored, layer, supervised=True, field=field)
            found.append(stored)
        return found

    async def _best(self, request: Request) -> tuple[analysis_pb2.Ranking, Choice]:
        """The ranking whose neurons are meant, and these."""
        message, ranking = await self._rankings.open(request.ranking, "ranking")
        top = request.top or _TOP
        if top > message.neuron_count and request.top:
            text = f"top: {top} is out of range: 1 to {message.neuron_count}, the neurons of {message.name}"
            raise InvalidRequest(text, reason="OUT_OF_RANGE", field="top")
        return message, await asyncio.to_thread(_choice, ranking, top)


def _choice(ranking: Ranking, top: int) -> Choice:
    return Choice.among(ranking.neurons.keep(ranking.order()[:top]))


def _check_choices(request: Request) -> None:
    """InvalidRequest where one of several fields is wanted, and none or more are given."""
    _check_one(request, ["sites", "neurons", "ranking"])
    _check_one(request, ["activation_set", "text"])
    if not (request.activation_set or request.HasField("text")):
        text = "activation_set: say what is looked at: an activation set, or a text"
        raise InvalidRequest(text, reason="NO_ACTIVATIONS", field="activation_set")
    if request.top and not request.ranking:
        raise InvalidRequest("top: of which ranking? give `ranking` too", reason="NO_RANKING", field="top")


def _check_one(request: Request, names: Sequence[str]) -> None:
    given = [name for name in names if getattr(request, name) and (name != "text" or request.HasField("text"))]
    if len(given) > 1:
        text = f"{given[1]}: not together with {given[0]}; leave one of the two out"
        raise InvalidRequest(text, reason="TWO_CHOICES", field=given[1])


def _check_text(request: Request, method: TableMethod) -> None:
    """InvalidRequest for what cannot be done with a text; Unsupported where words are needed."""
    if request.compare_with:
        text = "compare_with: a text is compared with nothing; leave it out, or give an activation set"
        raise InvalidRequest(text, reason="SETS_UNUSED", field="compare_with")
    if method.supervised or request.label:
        field = "label" if request.label else "text"
        text = f"{field}: a text has no labels; give an activation set that has some"
        raise InvalidRequest(text, reason="NO_LABELS", field=field)
    if not (request.sites or request.neurons or request.ranking):
        text = "sites: say at which sites the text is read, or which neurons are looked at"
        raise InvalidRequest(text, reason="NO_SITES", field="sites")
    if method.kind is Kind.NEURON_TO_CONCEPTS:
        check_words(request.text.aggregation, "the text", "text.aggregation")


def _check_count(kind: type[TableMethod], count: int) -> None:
    if kind.kind is Kind.NEURON_TO_CONCEPTS and count > _MOST_NEURONS:
        text = f"{kind.name} would say something of each of {count} neurons, and {_MOST_NEURONS} are the most: choose"
        text += " by sites, neurons or a ranking"
        raise InvalidRequest(text, reason="TOO_MANY_NEURONS", field="neurons")
