from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.extraction.shard_records import Record, check_records, cut


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_every_sentence_is_in_one_shard_and_in_order(sizes, most):
    shards = list(cut(sizes, most))
    assert [number for shard in shards for number in range(shard.start, shard.stop)] == list(range(len(sizes)))
    assert [shard.number for shard in shards] == list(range(len(shards)))


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_shards_hold_as_much_as_they_may_and_no_more(sizes, most):
    shards = list(cut(sizes, most))
    held = [sum(sizes[shard.start : shard.stop]) for shard in shards]
    for shard, words in zip(shards, held, strict=True):
        assert words <= most or shard.stop - shard.start == 1
    for words, after in pairwise(zip(held, shards, strict=True)):
        assert words[0] + sizes[after[1].start] > most


@given(st.data())
def test_only_one_record_a_shard_passes(data):
    shards = list(cut(data.draw(st.lists(st.integers(1, 9), min_size=1)), 12))
    records = [Record(shard.number, shard.start, shard.stop, "f", 1, 1, "s", "p") for shard in shards]
    check_records(shards, records, "p")
    dropped = data.draw(st.sampled_from(records))
    others = [record for record in records if record != dropped]
    with pytest.raises(BadData, match=f"missing: shard {dropped.number};"):
        check_records(shards, others, "p")
    with pytest.raises(BadData, match=f"recorded twice: shard {dropped.number}$"):
        check_records(shards, sorted([*records, dropped], key=lambda record: record.number), "p")
