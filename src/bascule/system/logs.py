"""Structured logs for every program: one JSON object, or one readable line, an event, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def set_up(log_format: Literal["json", "text"], **context: str) -> None:
    """Configure structlog and the standard library's loggers alike; `context` is in every line of this process."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adder(context),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(log_format)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _ending(log_format: Literal["json", "text"]) -> list[structlog.types.Processor]:
    """The last processors: exceptions become fields in JSON, and stay readable tracebacks in text."""
    bare = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if log_format == "json":
        return [bare, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [bare, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _adder(context: dict[str, str]) -> structlog.types.Processor:
    def add(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        for name, value in context.items():
            event.setdefault(name, value)
        return event

    return add
