"""TopWords: asked and answered in one call, by a process of its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from patchclamp.v1 import analysis_pb2, common_pb2
from patchclamp_analysis.methods.top_words import TopWords

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.checks import check_words
from patchclamp_service.analyses.live_text import LiveTexts
from patchclamp_service.analyses.neuron_choice import check_neurons
from patchclamp_service.analyses.work import Rows, Source
from patchclamp_service.engine.errors import Exhausted, InvalidRequest
from patchclamp_service.jobs.jobs import JobContext
from patchclamp_service.jobs.workers import Workers

__all__ = ["WordQueries"]

_TOP, _THRESHOLD = 20, 0.1
_MOST_NEURONS, _MOST_WORDS = 1000, 100_000
_MOST_WAITING, _RETRY_SECONDS = 16, 1.0

Neurons = list[tuple[str, int]]


class WordQueries:
    """Finds the words that drive neurons."""

    def __init__(self, sets: ActivationSets, texts: LiveTexts, workers: Workers) -> None:
        self._sets = sets
        self._texts = texts
        self._workers = workers
        self._waiting = 0

    async def top_words(self, request: analysis_pb2.TopWordsRequest) -> analysis_pb2.TopWordsResponse:
        """Raises InvalidRequest, NotFound, Unsupported for rows that are sentences, Exhausted when many wait already,
        what workers raise, or for a text what ExtractActivations raises."""
        if request.activation_set and request.HasField("text"):
            text = "text: not together with activation_set; leave one of the two out"
            raise InvalidRequest(text, reason="TWO_CHOICES", field="text")
        if request.HasField("text"):
            return await self._of_text(request)
        if not request.activation_set:
            text = "activation_set: say whose words: those of an activation set, or of a text"
            raise InvalidRequest(text, reason="NO_ACTIVATIONS", field="activation_set")
        return await self._of_set(request)

    async def _of_set(self, request: analysis_pb2.TopWordsRequest) -> analysis_pb2.TopWordsResponse:
        stored = await self._sets.get(request.activation_set, "activation_set")
        check_words(stored.aggregation, stored.name, "activation_set")
        widths = {site.site: site.width for site in stored.sites}
        check_neurons(request.neurons, widths, stored.name)
        neurons = _listed(request.neurons, widths)
        method = _method(request, neurons)
        sites = tuple(dict.fromkeys(site for site, _ in neurons))
        rows = Rows(await self._sets.path(stored.name), "", sites, self._workers.memory_bytes // 2)
        with self._place():
            return await self._found(rows, method, neurons)

    async def _of_text(self, request: analysis_pb2.TopWordsRequest) -> analysis_pb2.TopWordsResponse:
        check_words(request.text.aggregation, "the text", "text.aggregation")
        messages = await self._texts.named(request.text, request.neurons)
        fields = [f"neurons[{number}].site" for number in range(len(messages))]
        reading = await self._texts.check(request.text, [each.site for each in messages], fields)
        check_neurons(messages, reading.widths, reading.model)
        neurons = _listed(messages, reading.widths)
        method = _method(request, neurons)
        with self._place():  # before the model reads what would only wait
            async with self._texts.read(reading, self._workers.memory_bytes // 2, patient=False) as rows:
                return await self._found(rows, method, neurons)

    @contextmanager
    def _place(self) -> Generator[None]:
        """A place among those that wait for their answer."""
        if self._waiting == _MOST_WAITING:
            text = f"{_MOST_WAITING} calls of TopWords wait for their answer already; try again later"
            raise Exhausted(text, reason="QUEUE_FULL", retry_after=_RETRY_SECONDS)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _found(self, rows: Source, method: TopWords, neurons: Neurons) -> analysis_pb2.TopWordsResponse:
        context = JobContext("", "", 1)  # nobody asks how far it is
        return await self._workers.run(work.top_words, rows, method, neurons, context=context)


def _method(request: analysis_pb2.TopWordsRequest, neurons: Neurons) -> TopWords:
    top = request.top or _TOP
    if top * len(neurons) > _MOST_WORDS:
        text = f"top: {top} words of {len(neurons)} neurons are more than {_MOST_WORDS}, the most of a message"
        raise InvalidRequest(text, reason="TOO_MANY_WORDS", field="top")
    return TopWords(top, request.threshold or _THRESHOLD, request.min_count or 1)


def _listed(messages: Sequence[common_pb2.Neurons], widths: dict[str, int]) -> Neurons:
    """The neurons that are meant, by site and index."""
    counts = [len(each.indices) or widths[each.site] for each in messages]
    if sum(counts) > _MOST_NEURONS:
        text = f"neurons: {sum(counts)} are more than {_MOST_NEURONS}; ask for some at a time"
        raise InvalidRequest(text, reason="TOO_MANY_NEURONS", field="neurons")
    return [(each.site, index) for each in messages for index in each.indices or range(widths[each.site])]
