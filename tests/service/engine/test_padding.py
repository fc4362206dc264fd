"""Which sequences are filled up together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.padding import batches
from patchclamp_service.engine.plan import Counts, Plan, Vocabulary
from patchclamp_service.engine.programs import Demand
from patchclamp_service.engine.scheduler import Segment, Sequence, Work


@settings(deadline=None)
@given(st.lists(st.integers(1, 600), max_size=40))
def test_everyone_is_in_one_batch_and_little_is_filled_up(lengths: list[int]) -> None:
    vocabulary = Vocabulary(None, lambda text: None)  # type: ignore[arg-type, return-value]
    demand = Demand(Plan((), {}, vocabulary), Counts())
    segments = [
        (Segment(Sequence([1] * length, Work(), prompt_length=length), 0, length), demand) for length in lengths
    ]
    found = list(batches(segments))
    assert sorted(id(segment) for batch in found for segment, _ in batch) == sorted(id(s) for s, _ in segments)
    for batch in found:
        counts = [segment.count for segment, _ in batch]
        assert max(counts) * len(counts) <= max(64, 1.5 * sum(counts)) or len(counts) == 1


def test_equal_lengths_stay_together() -> None:
    demand = Demand(Plan((), {}, Vocabulary(None, lambda text: None)), Counts())  # type: ignore[arg-type, return-value]
    segments = [(Segment(Sequence([1] * 9, Work(), prompt_length=9), 0, 9), demand) for _ in range(50)]
    assert len(list(batches(segments))) == 1
