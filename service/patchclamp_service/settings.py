"""Flags, environment and file become one frozen settings object.

A flag wins over the environment (`PATCHCLAMP_…`), which wins over the TOML file named by `--config`, which wins over
the default. Names are the same everywhere: `--drain-seconds`, `PATCHCLAMP_DRAIN_SECONDS`, `drain_seconds = …`; those
of a group too: `--limits.running`, `PATCHCLAMP_LIMITS__RUNNING`, `[limits] running = …`. What each means stands
below it.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from patchclamp_service.engine.requests import Limits

__all__ = ["BadSetting", "LimitSettings", "Settings", "load_settings", "split_address"]

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]

_MODEL = re.compile(r"([a-z0-9][a-z0-9._-]{0,62})(=.+|@sha256:.+)?")


class BadSetting(Exception):
    """A setting that cannot be used; the message is one line for a person."""


class LimitSettings(BaseModel):
    """What one request may ask for, and what an engine holds at most."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    context_tokens: Count = 0
    """Prompt and new tokens together; 0: as many as the model was made for."""
    interventions: Count = 1024
    """Interventions of a request."""
    edited_neurons: Count = 1_000_000
    """Neurons that the interventions of a request edit, added up."""
    score_items: Positive = 4096
    """Items of a Score request."""
    sentences: Positive = 16384
    """Sentences of an ExtractActivations request."""
    stop_strings: Count = 16
    """Stop strings of a request."""
    top_logprobs: Count = 20
    """Most probable tokens returned with each token."""
    capture_bytes: Positive = 1 << 30
    """Bytes of activations that one request may capture."""
    request_tokens: Positive = 250_000
    """Tokens of all sentences or items of one request."""
    message_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 << 20
    """Bytes of a request message."""
    running: Positive = 16
    """Generations decoding side by side, per model."""
    queued_tokens: Positive = 1_000_000
    """Tokens of all admitted requests that have not finished; more is refused at once."""
    batch_tokens: Positive = 512
    """Tokens of one forward pass when nobody is decoding."""
    prefill_tokens: Positive = 128
    """Prompt tokens that join a forward pass in which others decode."""
    cache_tokens: Positive = 65_536
    """Token slots of the key-value cache, per model."""
    buffered_bytes: Positive = 64 << 20
    """Bytes of activations that an extraction may be ahead of a slow reader."""

    def for_engine(self) -> Limits:
        """The same as the engine's plain object."""
        return Limits(**self.model_dump())


class Settings(BaseSettings):
    """Everything that can be chosen at start-up."""

    model_config = SettingsConfigDict(
        env_prefix="PATCHCLAMP_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    config: Path | None = None
    """TOML file with any of these settings."""
    models: Annotated[tuple[str, ...], NoDecode] = ()
    """Model to serve: NAME (embedded), NAME=DIR or NAME=HUB/ID; repeat for several, the first is the default."""
    listen: str = "127.0.0.1:8470"
    """Address to serve on; port 0 picks one."""
    metrics_listen: str = ""
    """Address of the Prometheus metrics, for example 127.0.0.1:9464; port 0 picks one; empty: off."""
    data_dir: Path = Path("~/.local/share/patchclamp")
    """Where results are kept: corpora, activation sets, what analyses make, and the database unless --database
    names another."""
    database: Annotated[str, Field(repr=False)] = ""
    """PostgreSQL to use instead of SQLite: postgresql://USER@HOST/NAME. Servers that share one share the data_dir."""
    jobs_running: Positive = 2
    """Long-running operations that run side by side; others wait."""
    operations_kept_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 7.0
    """Days after which an operation that has ended is forgotten; what it made stays."""
    background_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.25
    """How much a running extraction may slow concurrent generations, as a share of their time."""
    workers: Positive = 1
    """Processes that analyses run in, side by side, of lower priority than the server; one more answers TopWords."""
    worker_memory_bytes: Annotated[int, Field(ge=64 << 20, le=2**63 - 1)] = 2 << 30
    """Memory of an analysis in bytes; one that needs more is stopped."""
    cache: Path = Path("~/.cache/patchclamp")
    """Where converted models are kept."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Element type the weights are held in."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Device that runs the models: cpu, cuda or cuda:N."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of one forward pass on the CPU; 0: as many as torch finds fit."""
    drain_seconds: Seconds = 30.0
    """After SIGTERM, how long running requests may take to finish."""
    keepalive_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 60.0
    """A connection silent for this long is asked whether it still lives."""
    corpus_bytes: Positive = 1 << 30
    """Bytes of an uploaded corpus, all of its files together."""
    chunk_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 128 << 10
    """Activations are streamed in messages of about this size."""
    tls_cert: Path | None = None
    """PEM file with the certificate chain; with --tls-key. Without both: no TLS."""
    tls_key: Path | None = None
    """PEM file with the private key."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged; the log goes to stderr."""
    log_format: Literal["console", "json"] = "console"
    """How a line of the log looks."""
    limits: LimitSettings = LimitSettings()
    """Limits of requests and of the engine."""

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("models")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = []
        for text in value:
            match = _MODEL.fullmatch(text)
            if not match:
                raise ValueError(f"{text!r} is not NAME or NAME=SOURCE, with a name of a-z, 0-9, '.', '_' and '-'")
            names.append(match[1])
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        return value

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @field_validator("data_dir", "cache", "tls_cert", "tls_key")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value else None

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if not self.models:
            raise ValueError("no model to serve: give --model NAME[=SOURCE] at least once")
        if not self.listen:
            raise ValueError("--listen needs HOST:PORT")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file."""
        assert isinstance(init_settings, InitSettingsSource)
        file = init_settings.init_kwargs.get("config") or os.environ.get("PATCHCLAMP_CONFIG") or None
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)

    def shown(self) -> dict[str, object]:
        """The settings for the log. File names are shown, what is in the files is not; nor is a password."""
        shown = self.model_dump(mode="json", exclude_none=True)
        return shown | ({"database": _without_secrets(self.database)} if self.database else {})


def load_settings(flags: dict[str, Any]) -> Settings:
    """Settings from `flags` (field names; of a group, a dict), environment and file. Raises BadSetting."""
    file = flags.get("config") or os.environ.get("PATCHCLAMP_CONFIG")
    if file and not Path(file).is_file():
        raise BadSetting(f"config: there is no file {file}")
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise BadSetting("; ".join(_line(problem["loc"], problem["msg"]) for problem in error.errors())) from error
    except (SettingsError, tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadSetting(" ".join(str(error).split())) from error


def _without_secrets(url: str) -> str:
    """Scheme, host and database of a URL: users, passwords and parameters are nobody's business."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else "…"


def _line(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {text}" if location else text


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8470" or "[::1]:8470"."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
