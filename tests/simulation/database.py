"""One database in memory for every process of a history; now and then it refuses, or does not say what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from bascule.model.errors import Unavailable
from bascule.store.database import Database, migrate, open_database
from tests.simulation.profile import Profile
from tests.simulation.virtual_time import Process

REFUSAL = "The database does not answer: nothing was changed, try again."


class Weather(Protocol):
    """What a transaction needs to know of the world."""

    faulty: bool
    profile: Profile
    chance: Random
    database_away: bool

    def happened(self, fault: str) -> None:
        """Count a fault."""

    def committed(self, process: Process) -> None:
        """A transaction is in the tables."""


class Engines:
    """One engine a Python process, because it remembers compiled statements; each history starts from a template."""

    def __init__(self) -> None:
        self.engine: Engine = open_database("sqlite://")
        self.connection = self.engine.connect()
        migrate(self.engine)
        pooled = self.engine.raw_connection()
        self.raw: Any = pooled.driver_connection
        pooled.close()
        self.keep_as_template()

    def keep_as_template(self) -> None:
        """Later histories begin with what is in the tables now."""
        self._template: bytes = self.raw.serialize()

    def start_over(self) -> None:
        """Back to the template."""
        self.raw.deserialize(self._template)


class SimulatedDatabase(Database):
    """The database as one process sees it. One connection serves them all: no transaction is open while others run."""

    def __init__(self, engines: Engines, process: Process, weather: Weather) -> None:
        super().__init__(engines.engine)
        self._connection, self._process, self._weather = engines.connection, process, weather

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; the process may die before it, in it or after it."""
        self._begin()
        with self._connection.begin():
            yield self._connection
        self._weather.committed(self._process)
        self._process.step()
        weather = self._weather
        if weather.faulty and weather.chance.random() < weather.profile.unknown_commit:
            weather.happened("commit unknown")
            raise Unavailable(REFUSAL)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        self._begin()
        with self._connection.begin():
            yield self._connection

    def _begin(self) -> None:
        self._process.step()
        weather = self._weather
        if not weather.faulty:
            return
        if weather.database_away:
            raise Unavailable(REFUSAL)
        if weather.chance.random() < weather.profile.refused_transaction:
            weather.happened("transaction refused")
            raise Unavailable(REFUSAL)
