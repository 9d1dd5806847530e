"""Telling a human: once when an entity keeps failing, once when it recovers."""

from __future__ import annotations

from typing import Protocol

import structlog

from bascule.orchestration.claims import Entity

log = structlog.get_logger(__name__)


class Escalation(Protocol):
    """Where alarms go."""

    def failing(self, entity: Entity, attempts: int, error: str) -> None:
        """The entity failed `attempts` times in a row; it goes on being retried."""

    def recovered(self, entity: Entity, attempts: int) -> None:
        """The entity is well again after `attempts` failures."""


class LogEscalation:
    """Alarms as log lines of level error, for whatever watches the log."""

    def failing(self, entity: Entity, attempts: int, error: str) -> None:
        """One line."""
        log.error("entity keeps failing", kind=entity.kind, entity=entity.id, attempts=attempts, error=error)

    def recovered(self, entity: Entity, attempts: int) -> None:
        """One line."""
        log.error("entity recovered", kind=entity.kind, entity=entity.id, attempts=attempts)
