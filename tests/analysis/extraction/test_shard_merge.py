from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.extraction.extractors import Written
from patchclamp_analysis.extraction.shard_merge import merge
from patchclamp_analysis.extraction.shards import Shard, ShardFolder
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, RowBlock

from tests.analysis.extraction.shard_making import PLAN, SHARDS, WIDTH, describe, write


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    return ShardFolder.create(tmp_path / "shards", PLAN, SHARDS)


@pytest.fixture
def full(folder: ShardFolder) -> ShardFolder:
    for shard in SHARDS:
        folder.store(shard, partial(write, shard))
    return folder


def ignore(stage: str, done: int, total: int) -> None:
    pass


def test_shards_merge_into_one_set(full, tmp_path):
    finished = merge(full.directory, full.complete(), tmp_path / "all.h5", ignore)
    write(Shard(0, 0, 6), tmp_path / "once.h5")
    with ActivationSet.open(tmp_path / "all.h5") as merged, ActivationSet.open(tmp_path / "once.h5") as once:
        assert merged.description == once.description
        assert merged.to_pandas().equals(once.to_pandas())
        assert merged.sentence_offsets.tolist() == once.sentence_offsets.tolist()
        for site in once.sites:
            assert np.array_equal(merged.site(site), once.site(site))
            assert np.array_equal(merged.statistics(site).mean, once.statistics(site).mean)
            assert merged.statistics(site, "NOUN").count == once.statistics(site, "NOUN").count
    assert finished.rows == 24


def test_bits_of_bfloat16_and_masks_survive(folder, tmp_path):
    def masked(shard: Shard, path: Path) -> Written:
        count = shard.stop - shard.start
        block = RowBlock(np.arange(shard.start, shard.stop), np.zeros(count, np.int32), ["w"] * count, {})
        description = replace(describe(), dtype="bfloat16", layers=())
        with ActivationSetWriter.open(path, description, [block]) as writer:
            bits = np.full((count, WIDTH), 0x3F80 + shard.number, np.uint16)
            writer.write({site: bits for site, _ in description.sites}, np.arange(count) == 0)
            return Written(writer.finish())

    for shard in SHARDS:
        folder.store(shard, partial(masked, shard))
    merge(folder.directory, folder.complete(), tmp_path / "all.h5", ignore)
    with ActivationSet.open(tmp_path / "all.h5") as merged:
        assert merged.masked.tolist() == [True, False, True, False, False, True]
        assert merged.site("embeddings")[~merged.masked][:, 0].tolist() == [0x3F80, 0x3F81, 0x3F81]


def test_a_merge_that_was_cut_short_goes_on(full, tmp_path):
    records = full.complete()

    def stop(stage: str, done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(full.directory, records, tmp_path / "all.h5", stop)
    assert not (tmp_path / "all.h5").exists()
    merge(full.directory, records, tmp_path / "all.h5", ignore)
    write(Shard(0, 0, 6), tmp_path / "once.h5")
    with ActivationSet.open(tmp_path / "all.h5") as merged, ActivationSet.open(tmp_path / "once.h5") as once:
        assert np.array_equal(merged.site("embeddings"), once.site("embeddings"))


def test_shards_without_rows_count_but_add_none(folder, tmp_path):
    folder.store(SHARDS[0], partial(write, SHARDS[0]))
    empty = folder.store(SHARDS[1], lambda path: None)
    folder.store(SHARDS[2], partial(write, SHARDS[2]))
    assert asdict(empty) | {"rows": 0, "file": ""} == asdict(empty)
    finished = merge(folder.directory, folder.complete(), tmp_path / "all.h5", ignore)
    assert (finished.rows, finished.sentences) == (12, 3)


def test_shards_without_any_rows_are_refused(folder, tmp_path):
    for shard in SHARDS:
        folder.store(shard, lambda path: None)
    with pytest.raises(BadData, match="keeps no row"):
        merge(folder.directory, folder.complete(), tmp_path / "all.h5", ignore)
