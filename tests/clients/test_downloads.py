"""Downloads of activation sets: whole, interrupted, damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from patchclamp import ActivationSet, DataLoss, Progress, ProtocolError, Unavailable
from patchclamp.v1 import activations_pb2, common_pb2

from tests.clients.halves import Half
from tests.clients.scripted import Failure, Script

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
WIRE = activations_pb2.ActivationSet(
    name="activationSets/a", dtype=common_pb2.FLOAT32, size_bytes=len(DATA), sha256=SHA256
)
GONE = Failure(grpc.StatusCode.UNAVAILABLE, "gone")


def chunk(start: int, stop: int, **fields: Any) -> activations_pb2.FileChunk:
    return activations_pb2.FileChunk(offset=start, data=DATA[start:stop], **fields)


def first(start: int, stop: int) -> activations_pb2.FileChunk:
    return chunk(start, stop, total_bytes=len(DATA), sha256=SHA256)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_download(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, 4000), chunk(4000, len(DATA)))
    told: list[Progress] = []
    async with half.client(script.target) as client:
        path = await half.wait(
            client.activation_sets.download, "activationSets/a", tmp_path / "a.h5", progress=told.append
        )
    assert path == tmp_path / "a.h5"
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == ["a.h5"]
    assert [(progress.done, progress.total) for progress in told] == [(4000, len(DATA)), (len(DATA), len(DATA))]


async def test_a_download_into_a_folder_is_called_by_its_id(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, len(DATA)))
    async with half.client(script.target) as client:
        path = await half.wait(client.activation_sets.download, ActivationSet.from_proto(WIRE), str(tmp_path))
    assert path == tmp_path / "a.h5"


async def test_a_file_that_is_there_stays(script: Script, half: Half, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("mine")
    async with half.client(script.target) as client:
        for path in (tmp_path, tmp_path / "a.h5"):
            script.reply("GetActivationSet", WIRE)
            with pytest.raises(FileExistsError, match=r"a\.h5 is there already"):
                await half.wait(client.activation_sets.download, "activationSets/a", path)
    assert (tmp_path / "a.h5").read_text() == "mine"
    assert names_in(tmp_path) == ["a.h5"]


async def test_a_file_that_comes_meanwhile_stays(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, len(DATA)))
    async with half.client(script.target) as client:
        with pytest.raises(FileExistsError):
            await half.wait(
                client.activation_sets.download,
                "activationSets/a",
                tmp_path / "a.h5",
                progress=lambda _: (tmp_path / "a.h5").touch(),
            )
    assert names_in(tmp_path) == ["a.h5", "a.h5.partial", "a.h5.partial.sha256"]


async def test_a_file_is_replaced_once_the_new_one_is_whole(script: Script, half: Half, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("mine")
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, len(DATA)))
    async with half.client(script.target) as client:
        await half.wait(client.activation_sets.download, "activationSets/a", tmp_path, overwrite=True)
    assert (tmp_path / "a.h5").read_bytes() == DATA
    assert names_in(tmp_path) == ["a.h5"]


async def interrupted(script: Script, half: Half, path: Path) -> None:
    """Leaves the first 4000 bytes of a download."""
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, 4000), Failure(grpc.StatusCode.INTERNAL, "broken"))
    async with half.client(script.target) as client:
        with pytest.raises(Exception, match="broken"):
            await half.wait(client.activation_sets.download, "activationSets/a", path)


async def test_an_interrupted_download_goes_on(script: Script, half: Half, tmp_path: Path) -> None:
    await interrupted(script, half, tmp_path / "a.h5")
    assert names_in(tmp_path) == ["a.h5.partial", "a.h5.partial.sha256"]
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(4000, len(DATA)))
    async with half.client(script.target) as client:
        path = await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert script.requests[-1].offset == 4000
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == ["a.h5"]


async def test_a_download_goes_on_by_itself_when_the_server_comes_back(
    script: Script, half: Half, tmp_path: Path
) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, 4000), GONE)
    script.reply("DownloadActivationSet", first(4000, 5000), GONE)
    script.reply("DownloadActivationSet", first(5000, len(DATA)))
    async with half.client(script.target, retries=0) as client:
        path = await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert [request.offset for request in script.requests[1:]] == [0, 4000, 5000]
    assert path.read_bytes() == DATA


async def test_a_download_that_gets_no_further_fails(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, 4000), GONE)
    script.reply("DownloadActivationSet", GONE)
    async with half.client(script.target, retries=0) as client:
        with pytest.raises(Unavailable):
            await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert (tmp_path / "a.h5.partial").read_bytes() == DATA[:4000]


@pytest.mark.parametrize("left", ["other", "none", "garbage", "too much"])
async def test_what_is_left_of_another_file_is_thrown_away(
    script: Script, half: Half, tmp_path: Path, left: str
) -> None:
    await interrupted(script, half, tmp_path / "a.h5")
    expected = tmp_path / "a.h5.partial.sha256"
    match left:
        case "other":
            expected.write_text("0" * 64)
        case "none":
            expected.unlink()
        case "garbage":
            expected.write_bytes(b"\xff\xfe")
        case "too much":
            (tmp_path / "a.h5.partial").write_bytes(DATA + b"x")
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(0, len(DATA)))
    async with half.client(script.target) as client:
        path = await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert script.requests[-1].offset == 0
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == ["a.h5"]


async def test_a_whole_download_that_was_not_renamed_is_not_fetched_again(
    script: Script, half: Half, tmp_path: Path
) -> None:
    (tmp_path / "a.h5.partial").write_bytes(DATA)
    (tmp_path / "a.h5.partial.sha256").write_text(SHA256)
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(len(DATA), len(DATA)))
    async with half.client(script.target) as client:
        path = await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert (script.requests[-1].offset, path.read_bytes()) == (len(DATA), DATA)


async def test_damage_is_found_and_thrown_away(script: Script, half: Half, tmp_path: Path) -> None:
    await interrupted(script, half, tmp_path / "a.h5")
    partial = tmp_path / "a.h5.partial"
    partial.write_bytes(b"x" + partial.read_bytes()[1:])
    (tmp_path / "a.h5").write_text("before")
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", first(4000, len(DATA)))
    async with half.client(script.target) as client:
        with pytest.raises(DataLoss, match=f"should be {SHA256}; download it again") as caught:
            await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5", overwrite=True)
    assert caught.value.reason == "CHECKSUM_MISMATCH"
    assert names_in(tmp_path) == ["a.h5"]
    assert (tmp_path / "a.h5").read_text() == "before"


OTHER = activations_pb2.FileChunk(data=DATA[:9], total_bytes=len(DATA), sha256="0" * 64)


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([first(0, 4000)], f"ended after 4000 of {len(DATA)} bytes"),
        ([first(0, 4000), chunk(5000, 6000)], "1000 bytes from 5000 came where those from 4000"),
        ([first(0, len(DATA)), activations_pb2.FileChunk(offset=len(DATA), data=b"x")], "1 bytes from"),
        ([OTHER], "has become another one"),
    ],
)
async def test_chunks_that_do_not_add_up_are_an_error(
    script: Script, half: Half, tmp_path: Path, chunks: list[activations_pb2.FileChunk], says: str
) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("DownloadActivationSet", *chunks)
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match=says):
            await half.wait(client.activation_sets.download, "activationSets/a", tmp_path / "a.h5")
    assert "a.h5" not in names_in(tmp_path)
