from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.activation_sets import ActivationSet
from patchclamp_analysis.activation_writer import ActivationSetWriter, RowBlock, SetDescription
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.extractors import Written
from patchclamp_analysis.shard_records import Record, check_records
from patchclamp_analysis.shards import Shard, ShardFolder, cut, merge

WIDTH = 3
SHARDS = [Shard(0, 0, 2), Shard(1, 2, 5), Shard(2, 5, 6)]
PLAN = {"model": {"spec": "tiny"}, "sites": ["embeddings"]}


def describe(**changes) -> SetDescription:
    return replace(
        SetDescription(
            sites=(("embeddings", WIDTH), ("layers.0.residual", WIDTH)),
            dtype="float32",
            aggregation="average",
            model="models/tiny",
            layers=(("upos", ("NOUN", "VERB")),),
        ),
        **changes,
    )


def value_of(sentence: int, place: int) -> float:
    return 10.0 * sentence + place


def write(shard: Shard, path: Path, *, words: int = 4, **changes) -> Written:
    """A set of the shard's sentences, of `words` words each, whose values say which row they belong to."""
    rows = [(sentence, place) for sentence in range(shard.start, shard.stop) for place in range(words)]
    block = RowBlock(
        np.array([sentence for sentence, _ in rows]),
        np.array([place for _, place in rows], np.int32),
        [f"w{sentence}.{place}" for sentence, place in rows],
        {"upos": ["NOUN" if place else "" for _, place in rows]},
    )
    description = describe(**changes)
    values = np.array([[value_of(*row)] * WIDTH for row in rows], np.float32)
    with ActivationSetWriter.open(path, description, [block]) as writer:
        writer.write({site: values + i for i, (site, _) in enumerate(description.sites)}, np.zeros(len(rows), bool))
        return Written(writer.finish())


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


def record_file(folder: ShardFolder, number: int) -> Path:
    return folder.directory / f"shard-{number:05d}.json"


# --- cutting


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


# --- merging


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
