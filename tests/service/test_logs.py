"""The log is one line per event; local variables, and with them prompts, stay out of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from patchclamp_service import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_local_variable_is_logged(style: Literal["json", "console"], capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", style)
    prompt = "my " + "secret"
    try:
        raise ValueError(len(prompt))
    except ValueError:
        structlog.get_logger("patchclamp_service.x").exception("unforeseen", error_id="e1")
    text = capsys.readouterr().err
    assert "e1" in text
    assert "ValueError: 9" in text
    assert "my secret" not in text


def test_json_lines_of_both_loggers(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger("patchclamp_service.x").info("request", code="OK")
    structlog.get_logger("patchclamp_service.x").debug("hidden")
    logging.getLogger("patchclamp_service.engine").info("from the engine")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line.get("code")) for line in lines] == [
        ("request", "info", "OK"),
        ("from the engine", "info", None),
    ]
