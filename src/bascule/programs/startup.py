"""How every process starts: `--help`, settings, logs; an error of ours is one sentence and its own exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import structlog

from bascule.model.errors import BasculeError
from bascule.programs.settings import AgentSettings, S, Settings, describe, load
from bascule.system import logs


def start(program: str, purpose: str, kind: type[S], run: Callable[[S], None], *, noun: str = "") -> None:
    """Answer `--help`, or load the settings and run until the process is told to stop.

    `noun` is what an agent's machine is called in log lines.
    """
    argparse.ArgumentParser(
        prog=program,
        description=purpose,
        epilog=describe(kind),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    logs.set_up("text")
    try:
        settings = load(kind)
        logs.set_up(settings.log_format, **_context(program, noun, settings))
        run(settings)
    except BasculeError as error:
        structlog.stdlib.get_logger(program).error("cannot go on", reason=error.sentence)
        sys.exit(error.exit_code)


def _context(program: str, noun: str, settings: Settings) -> dict[str, str]:
    """What every log line of this process carries."""
    return {noun: settings.node_name} if isinstance(settings, AgentSettings) else {"program": program}
