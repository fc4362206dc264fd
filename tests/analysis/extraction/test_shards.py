from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.extraction.extractors import Written
from patchclamp_analysis.extraction.shards import ShardFolder

from tests.analysis.extraction.shard_making import PLAN, SHARDS, write


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    return ShardFolder.create(tmp_path / "shards", PLAN, SHARDS)


@pytest.fixture
def full(folder: ShardFolder) -> ShardFolder:
    for shard in SHARDS:
        folder.store(shard, partial(write, shard))
    return folder


def record_file(folder: ShardFolder, number: int) -> Path:
    return folder.directory / f"shard-{number:05d}.json"


# --- writing


def test_a_shard_is_found_once_it_is_there(folder):
    assert folder.find(SHARDS[1]) is None
    record = folder.store(SHARDS[1], partial(write, SHARDS[1]))
    assert folder.find(SHARDS[1]) == record
    assert (record.rows, record.start, record.stop) == (12, 2, 5)


def test_a_shard_that_is_there_is_not_made_again(full):
    def fail(path: Path) -> Written:
        raise AssertionError("made twice")

    assert full.store(SHARDS[0], fail) == full.find(SHARDS[0])


def test_two_workers_at_once_leave_one_whole_shard(folder):
    def write_while_another_does(path: Path) -> Written:
        folder.store(SHARDS[1], partial(write, SHARDS[1]))
        return write(SHARDS[1], path)

    folder.store(SHARDS[0], partial(write, SHARDS[0]))
    folder.store(SHARDS[1], write_while_another_does)
    folder.store(SHARDS[2], partial(write, SHARDS[2]))
    assert [record.rows for record in folder.complete()] == [8, 12, 4]
    assert len(list(folder.directory.glob("*.h5"))) == 3


def test_of_two_workers_with_other_bits_one_counts(folder):
    """As on machines whose processors round differently."""

    def write_while_another_does(path: Path) -> Written:
        folder.store(SHARDS[0], lambda other: write(SHARDS[0], other, tokenizer="another"))
        return write(SHARDS[0], path, tokenizer="")

    late = folder.store(SHARDS[0], write_while_another_does)
    assert folder.find(SHARDS[0]) == late
    for shard in SHARDS[1:]:
        folder.store(shard, partial(write, shard))
    assert folder.complete()[0].sha256 == late.sha256
    assert len(list(folder.directory.glob("*.h5"))) == 3


def test_an_error_leaves_nothing(folder):
    def fail(path: Path) -> Written:
        path.with_name(f"{path.name}.partial").touch()
        raise BadData("no")

    with pytest.raises(BadData):
        folder.store(SHARDS[0], fail)
    assert [path.name for path in folder.directory.iterdir()] == ["plan.json"]


def test_a_shard_that_kills_its_workers_is_given_up(folder):
    for number in range(4):
        (folder.directory / f"shard-00001~{number}.try").touch()
    with pytest.raises(AnalysisError, match="shard 1: 4 workers died"):
        folder.store(SHARDS[1], partial(write, SHARDS[1]))
    folder.store(SHARDS[0], partial(write, SHARDS[0]))
    folder.forget_tries()
    assert folder.store(SHARDS[1], partial(write, SHARDS[1])).rows == 12


def test_while_a_shard_is_written_a_try_is_on_record(folder):
    def look(path: Path) -> Written:
        assert len(list(folder.directory.glob("shard-00000~*.try"))) == 1
        return write(SHARDS[0], path)

    folder.store(SHARDS[0], look)
    assert not list(folder.directory.glob("*.try"))


def test_a_folder_goes_on_with_the_same_plan(full):
    again = ShardFolder.create(full.directory, PLAN, SHARDS)
    assert [again.find(shard) for shard in SHARDS] == [full.find(shard) for shard in SHARDS]


@pytest.mark.parametrize(
    ("plan", "shards", "said"),
    [
        (PLAN | {"dtype": "float16"}, SHARDS, "other dtype"),
        (PLAN | {"sites": ["layers.0.residual"]}, SHARDS, "other sites"),
        (PLAN, SHARDS[:2], "cut at other places"),
    ],
)
def test_a_folder_of_another_plan_is_refused(full, plan, shards, said):
    with pytest.raises(BadData, match=said):
        ShardFolder.create(full.directory, plan, shards)


def test_a_folder_without_a_shard_takes_another_plan(folder):
    other = ShardFolder.create(folder.directory, PLAN | {"dtype": "float16"}, SHARDS[:2])
    assert ShardFolder.open(folder.directory).shards == other.shards == tuple(SHARDS[:2])


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BadData, match="something else"):
        ShardFolder.create(tmp_path, PLAN, SHARDS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("other", [(), ("notes.txt",)])
def test_removing_shards_leaves_what_is_not_theirs(full, other):
    full.complete()
    for name in other:
        (full.directory / name).touch()
    full.remove()
    assert tuple(path.name for path in full.directory.glob("*")) == other
    assert full.directory.exists() == bool(other)


# --- checking


def test_a_whole_folder_is_complete(full):
    records = full.complete()
    assert records == full.manifest()
    assert [record.rows for record in records] == [8, 12, 4]


def change_byte(folder: ShardFolder) -> None:
    path = folder.directory / json.loads(record_file(folder, 1).read_text())["file"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_short(folder: ShardFolder) -> None:
    path = folder.directory / json.loads(record_file(folder, 1).read_text())["file"]
    path.write_bytes(path.read_bytes()[:-1])


def lose_file(folder: ShardFolder) -> None:
    (folder.directory / json.loads(record_file(folder, 1).read_text())["file"]).unlink()


def lose_record(folder: ShardFolder) -> None:
    record_file(folder, 1).unlink()


def record_twice(folder: ShardFolder) -> None:
    (folder.directory / "shard-00009.json").write_bytes(record_file(folder, 1).read_bytes())


def edit(**changes) -> Callable[[ShardFolder], None]:
    def apply(folder: ShardFolder) -> None:
        content = json.loads(record_file(folder, 1).read_text())
        record_file(folder, 1).write_text(json.dumps(content | changes))

    return apply


def swap_files(folder: ShardFolder) -> None:
    """Both records are right about bytes and digest, of the wrong sentences."""
    one, two = (json.loads(record_file(folder, number).read_text()) for number in (0, 1))
    of_file = ("file", "rows", "size_bytes", "sha256")
    record_file(folder, 1).write_text(json.dumps(two | {key: one[key] for key in of_file}))


DAMAGE = [
    (change_byte, r"shard 1: .* has changed"),
    (cut_short, r"shard 1: .* bytes instead of"),
    (lose_file, r"shard 1: .* cannot be read"),
    (lose_record, r"missing: shard 1;"),
    (record_twice, r"recorded twice: shard 1"),
    (edit(rows=11), r"shard 1: has 12 rows instead of 11"),
    (edit(start=1), r"shard 1: has sentences 1 to 4, where 2 to 4 are planned"),
    (edit(number=7), r"missing: shard 1;"),
    (edit(plan="0" * 64), r"shard 1: belongs to another extraction"),
    (edit(file="../x.h5"), r"shard-00001.json: names '../x.h5'"),
    (edit(sha256="0" * 64), r"shard 1: .* has changed"),
    (edit(rows="12"), r"shard-00001.json: is no record"),
    (swap_files, r"shard 1: has rows of sentences 0 to 1, not of 2 to 4"),
    (lambda folder: record_file(folder, 1).write_text("{"), r"shard-00001.json: is not valid JSON"),
    (lambda folder: record_file(folder, 1).write_text("[]"), r"shard-00001.json: is not a JSON object"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_what_is_not_whole_is_named(full, damage, said):
    damage(full)
    with pytest.raises(BadData, match=said):
        full.complete()
    assert not (full.directory / "manifest.json").exists()


@pytest.mark.parametrize(("damage", "said"), DAMAGE[:3])
def test_a_manifest_is_checked_when_it_is_read(full, damage, said):
    full.complete()
    damage(full)
    with pytest.raises(BadData, match=said):
        full.manifest()


@pytest.mark.parametrize("damage", [cut_short, lose_file, lose_record, edit(plan="0" * 64)])
def test_what_is_seen_to_be_lost_is_made_again(full, damage):
    damage(full)
    assert full.find(SHARDS[1]) is None
    full.store(SHARDS[1], partial(write, SHARDS[1]))
    assert len(full.complete()) == 3


def test_shards_of_two_models_are_no_whole(folder):
    folder.store(SHARDS[0], partial(write, SHARDS[0]))
    folder.store(SHARDS[1], lambda path: write(SHARDS[1], path, model_digest="1" * 64))
    folder.store(SHARDS[2], partial(write, SHARDS[2]))
    with pytest.raises(BadData, match="shard 1: does not fit"):
        folder.complete()


def test_a_folder_without_a_plan_is_none(tmp_path):
    with pytest.raises(BadData, match=r"plan\.json: is not there"):
        ShardFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("idle", "said"),
    [([(0, 1), (1,), ()], ""), ([(0, 1), (1,), (1, 2)], r"interventions\[1\]"), ([(), (0,), (0,)], "")],
)
def test_an_edit_must_select_a_token_somewhere(folder, idle, said):
    for shard, edits in zip(SHARDS, idle, strict=True):
        folder.store(shard, lambda path, shard=shard, edits=edits: replace(write(shard, path), idle_edits=edits))
    with pytest.raises(BadData, match=said) if said else nullcontext():
        assert len(folder.complete()) == 3
