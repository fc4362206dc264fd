"""TopWords: asked and answered in one call, by a process of its own."""

from __future__ import annotations

from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods.top_words import NeuronWords, TopWords

from patchclamp_service import analysis_work
from patchclamp_service.activation_sets import ActivationSets
from patchclamp_service.analysis_work import Rows
from patchclamp_service.engine.errors import InvalidRequest, Unsupported
from patchclamp_service.jobs import JobContext
from patchclamp_service.set_labels import nearest
from patchclamp_service.workers import Workers

__all__ = ["WordQueries"]

_TOP, _THRESHOLD = 20, 0.1
_MOST_NEURONS, _MOST_WORDS = 1000, 100_000
_BY_SENTENCE = (
    activations_pb2.SENTENCE_FIRST,
    activations_pb2.SENTENCE_LAST,
    activations_pb2.SENTENCE_AVERAGE,
    activations_pb2.SENTENCE_MAX,
)


class WordQueries:
    """Finds the words that drive neurons."""

    def __init__(self, sets: ActivationSets, workers: Workers) -> None:
        self._sets = sets
        self._workers = workers

    async def top_words(self, request: analysis_pb2.TopWordsRequest) -> analysis_pb2.TopWordsResponse:
        """Raises InvalidRequest, NotFound, Unsupported for a set of sentences, or what workers raise."""
        stored = await self._sets.get(request.activation_set, "activation_set")
        if stored.aggregation in _BY_SENTENCE:
            text = f"activation_set: the rows of {stored.name} are sentences, not words"
            raise Unsupported(text, reason="NEEDS_WORDS", field="activation_set")
        neurons = _neurons(request, stored)
        top = request.top or _TOP
        if top * len(neurons) > _MOST_WORDS:
            text = f"top: {top} words of {len(neurons)} neurons are more than {_MOST_WORDS}, the most of a message"
            raise InvalidRequest(text, reason="TOO_MANY_WORDS", field="top")
        method = TopWords(top, request.threshold or _THRESHOLD, request.min_count or 1)
        sites = tuple(dict.fromkeys(site for site, _ in neurons))
        rows = Rows(await self._sets.path(stored.name), "", sites, self._workers.memory_bytes // 2)
        context = JobContext("", "", 1)  # nobody asks how far it is
        found = await self._workers.run(analysis_work.top_words, rows, method, neurons, context=context)
        return analysis_pb2.TopWordsResponse(neurons=map(_message, found))


def _neurons(request: analysis_pb2.TopWordsRequest, stored: activations_pb2.ActivationSet) -> list[tuple[str, int]]:
    """The neurons that are meant, by site and index."""
    widths = {site.site: site.width for site in stored.sites}
    found: list[tuple[str, int]] = []
    for number, each in enumerate(request.neurons):
        field = f"neurons[{number}]"
        if each.site not in widths:
            text = f"{field}.site: {stored.name} has no site {each.site!r}{nearest(each.site, widths)}"
            raise InvalidRequest(text, reason="UNKNOWN_SITE", field=f"{field}.site")
        width = widths[each.site]
        for place, index in enumerate(each.indices):
            if index >= width:
                text = f"index {index} is out of range: {each.site} has {width} neurons, 0 to {width - 1}"
                raise InvalidRequest(text, reason="INDEX_OUT_OF_RANGE", field=f"{field}.indices[{place}]")
        found += [(each.site, index) for index in each.indices or range(width)]
    if len(found) > _MOST_NEURONS:
        text = f"neurons: {len(found)} are more than {_MOST_NEURONS}; ask for some at a time"
        raise InvalidRequest(text, reason="TOO_MANY_NEURONS", field="neurons")
    return found


def _message(found: NeuronWords) -> analysis_pb2.NeuronWords:
    words = [analysis_pb2.WordScore(word=each.word, score=each.score, count=each.count) for each in found.words]
    return analysis_pb2.NeuronWords(site=found.site, index=found.index, words=words)
