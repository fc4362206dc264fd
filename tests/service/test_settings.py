"""Flags over environment over file over defaults; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from patchclamp_service.__main__ import main
from patchclamp_service.engine.requests import Limits
from patchclamp_service.flags import parse_flags
from patchclamp_service.settings import BadSetting, LimitSettings, Settings, load_settings, split_address

FILE = (
    'models = ["of-file"]\ndrain_seconds = 1\nthreads = 1\ndtype = "bfloat16"\n[limits]\nrunning = 1\nsentences = 1\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def load(*argv: str) -> Settings:
    return load_settings(parse_flags(argv))


def test_precedence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHCLAMP_THREADS", "2")
    monkeypatch.setenv("PATCHCLAMP_DRAIN_SECONDS", "2")
    monkeypatch.setenv("PATCHCLAMP_LIMITS__RUNNING", "2")
    settings = load("--config", str(file), "--drain-seconds", "3")
    assert (settings.dtype, settings.threads, settings.drain_seconds) == ("bfloat16", 2, 3)
    assert (settings.limits.sentences, settings.limits.running) == (1, 2)
    assert settings.models == ("of-file",)
    assert settings.chunk_bytes == 128 << 10


def test_models_by_flag_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("--model", "a", "--model", "b=/x,y").models == ("a", "b=/x,y")
    monkeypatch.setenv("PATCHCLAMP_MODELS", "a, b=org/b")
    assert load().models == ("a", "b=org/b")


def test_the_file_may_be_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHCLAMP_CONFIG", str(file))
    assert load().models == ("of-file",)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--model"),
        (["--model", "../x"], "models: '../x' is not NAME"),
        (["--model", "a", "--model", "a=/x"], "named twice: a"),
        (["--model", "a", "--listen", "8470"], "listen: '8470' is not HOST:PORT"),
        (["--model", "a", "--metrics-listen", "x:99999"], "metrics_listen"),
        (["--model", "a", "--threads", "many"], "threads"),
        (["--model", "a", "--limits.running", "0"], "limits.running"),
        (["--model", "a", "--drain-seconds", "nan"], "drain_seconds"),
        (["--model", "a", "--device", "abacus"], "device"),
        (["--model", "a", "--jobs-running", "0"], "jobs_running"),
        (["--model", "a", "--background-share", "1.5"], "background_share"),
        (["--model", "a", "--worker-memory-bytes", "1"], "worker_memory_bytes"),
        (["--model", "a", "--operations-kept-days", "0"], "operations_kept_days"),
        (["--model", "a", "--tls-key", "key.pem"], "--tls-cert and --tls-key go together"),
        (["--model", "a", "--config", "nowhere.toml"], "there is no file nowhere.toml"),
    ],
)
def test_bad_settings_take_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("argv", [["--nonsense"], ["--dtype", "int4"], ["--threads"]])
def test_bad_flags_take_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", ["models = [", "colour = 'blue'", "[limits]\nrunnning = 2", 'threads = "many"'])
def test_bad_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(BadSetting):
        load("--model", "a", "--config", str(file))


def test_settings_are_frozen_and_shown() -> None:
    settings = load("--model", "a")
    with pytest.raises(ValueError, match="frozen"):
        settings.threads = 3
    assert settings.shown()["models"] == ["a"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hushhush@host:5432/name", "postgresql://host:5432/name"),
        ("postgresql+psycopg://hushhush@host/name?password=hushhush", "postgresql+psycopg://host/name"),
        ("postgresql://user:hush@hush:hushhush@host/name", "postgresql://host/name"),
        ("postgresql://user:hushhush@[host/name", "…"),
        ("postgresql:user:hushhush@host", "…"),
        ("hushhush", "…"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    settings = load("--model", "a", "--database", url)
    assert settings.database == url
    assert settings.shown()["database"] == shown
    assert "hushhush" not in f"{settings!r}{settings}{settings.shown()}"


def test_a_password_is_in_no_line_of_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", "postgresql://user:hushhush@host/name"]) == 2
    assert "hushhush" not in capsys.readouterr().err


def test_the_data_directory_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["--model", "a", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "file" / "data")]) == 2
    line = capsys.readouterr().err
    assert line.startswith("patchclamp serve: data_dir: ")
    assert line.count("\n") == 1


def test_every_setting_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, info in (Settings.model_fields | LimitSettings.model_fields).items():
        assert info.description, name
        assert name in ("models", "limits") or name.replace("_", "-") in text


def test_the_limits_are_those_of_the_engine() -> None:
    assert LimitSettings().for_engine() == Limits()
    assert set(LimitSettings.model_fields) == {field.name for field in dataclasses.fields(Limits)}


@pytest.mark.parametrize(("text", "parts"), [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8470", ("::1", 8470))])
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts
