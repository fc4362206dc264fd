"""The command line: one flag per setting, made from the settings themselves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from patchclamp_service.settings import LimitSettings, Settings

__all__ = ["parse_flags"]

_NAMES = {"models": "model"}  # repeated, so one flag names one model
_METAVARS = {
    "config": "FILE",
    "models": "NAME[=SOURCE]",
    "listen": "HOST:PORT",
    "metrics_listen": "HOST:PORT",
    "data_dir": "DIR",
    "database": "URL",
    "operations_kept_days": "DAYS",
    "background_share": "SHARE",
    "worker_memory_bytes": "BYTES",
    "cache": "DIR",
    "device": "DEVICE",
    "drain_seconds": "SECONDS",
    "keepalive_seconds": "SECONDS",
    "chunk_bytes": "BYTES",
    "corpus_bytes": "BYTES",
    "tls_cert": "FILE",
    "tls_key": "FILE",
}

_EPILOG = """\
Every flag is also an environment variable (--drain-seconds: PATCHCLAMP_DRAIN_SECONDS, --model:
PATCHCLAMP_MODELS with commas between, --limits.running: PATCHCLAMP_LIMITS__RUNNING) and a line of the TOML file
(drain_seconds = 30, models = ["a"], [limits] running = 16). A flag wins over the environment, the environment over
the file.

examples:
  patchclamp serve --model smollm2-135m
  patchclamp serve --model mine=/srv/models/mine --model minilm-l6 --listen 0.0.0.0:8470 --metrics-listen 0.0.0.0:9464
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; the usage is for --help."""

    def error(self, message: str) -> NoReturn:
        """Prints the line and exits with 2."""
        self.exit(2, f"{self.prog}: {message} (--help lists the flags)\n")


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """The settings given on the command line, by field name. Prints help or one line of error and exits (2)."""
    given = vars(_parser().parse_args(argv))
    limits = {name.removeprefix("limits."): given.pop(name) for name in list(given) if name.startswith("limits.")}
    return given | ({"limits": limits} if limits else {})


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="patchclamp serve",
        usage="patchclamp serve --model NAME[=SOURCE] [--listen HOST:PORT] [flags]",
        description="Serve transformer models over gRPC and let callers read and clamp their neurons.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=118),
        allow_abbrev=False,
    )
    for name, info in Settings.model_fields.items():
        if name != "limits":
            _add(parser, name, info)
    group = parser.add_argument_group("limits", LimitSettings.__doc__)
    for name, info in LimitSettings.model_fields.items():
        _add(group, name, info, prefix="limits.")
    return parser


def _add(parser: argparse._ActionsContainer, name: str, info: FieldInfo, prefix: str = "") -> None:
    options: dict[str, Any] = {"dest": prefix + name, "help": _help(info), "default": argparse.SUPPRESS}
    if get_origin(info.annotation) is Literal:
        options["choices"] = get_args(info.annotation)
    else:
        options["metavar"] = _METAVARS.get(name, "N")
    if name == "models":
        options["action"] = "append"
    flag = prefix + _NAMES.get(name, name)
    parser.add_argument("--" + flag.replace("_", "-"), **options)


def _help(info: FieldInfo) -> str:
    text = (info.description or "").replace("%", "%%").rstrip(".")
    plain = not isinstance(info.default, BaseModel) and info.default not in (None, "", ())
    return f"{text} (default: {info.default})" if plain else text
