"""One structured line per event, on stderr. Never prompts, texts, metadata or addresses of callers."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

__all__ = ["configure"]

_SHARED: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(level: str, style: Literal["console", "json"]) -> None:
    """Sends structlog and the standard library's logging through one renderer."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_rendering(style), foreign_pre_chain=_SHARED))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("patchclamp_service").setLevel(level.upper())


def _rendering(style: Literal["console", "json"]) -> list[Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "json":
        return [remove, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Plain tracebacks: the rich ones print local variables, and with them prompts.
    plain = structlog.dev.plain_traceback
    return [remove, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
