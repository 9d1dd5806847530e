"""What the doctor says: one sentence each, with the command that mends it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Level(StrEnum):
    """How bad it is: a problem keeps packets from flowing, a warning may surprise later."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(BaseModel):
    """One thing looked at. `fix` is a shell command, or empty when nothing needs mending."""

    model_config = ConfigDict(frozen=True)

    level: Level
    subject: str
    sentence: str
    fix: str = ""


def ok(subject: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(level=Level.OK, subject=subject, sentence=sentence)


def warning(subject: str, sentence: str, fix: str = "") -> Finding:
    """It works, but somebody should know."""
    return Finding(level=Level.WARNING, subject=subject, sentence=sentence, fix=fix)


def problem(subject: str, sentence: str, fix: str = "") -> Finding:
    """It does not work like this."""
    return Finding(level=Level.PROBLEM, subject=subject, sentence=sentence, fix=fix)
