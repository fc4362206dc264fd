"""Progress: a function that is told, a bar on a terminal, or nothing."""

from __future__ import annotations

import re

import pytest
from patchclamp import Progress
from patchclamp._progress import reporting

STEPS = [
    Progress("waiting"),
    Progress("extracting", 3, 9, "sentences", 1.5),
    Progress("extracting", 1234, 5678, "sentences"),
    Progress("uploading", 1_500_000, 3_000_000, "bytes"),
    Progress("downloading", 1500, 0, "bytes"),
]


def test_a_function_is_told() -> None:
    told: list[Progress] = []
    with reporting(told.append) as report:
        for progress in STEPS:
            report(progress)
    assert told == STEPS


@pytest.mark.parametrize("option", [True, False])
def test_without_a_terminal_nothing_is_shown(option: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(option) as report:
        for progress in STEPS:
            report(progress)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (STEPS[0], "waiting"),
        (STEPS[1], "extracting .* 3/9 sentences, 2/s"),
        (STEPS[2], "extracting .* 1,234/5,678 sentences"),
        (STEPS[3], r"uploading .* 1\.5 MB of 3\.0 MB"),
        (STEPS[4], r"downloading .* 1\.5 kB"),
    ],
)
def test_a_terminal_shows_a_bar(
    progress: Progress, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as rich sees it
    monkeypatch.setenv("COLUMNS", "120")
    with reporting(True) as report:
        report(Progress("before", 1, 2, "bytes"))
        report(progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(shown, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err))
