"""Jobs as the orchestrator's journal writes them, at moments that are worth a look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Job, Path, Step, Try, parallel, sequence
from bascule.orchestration.journal import Journal
from bascule.store.tables import orchestration
from tests.unit.api.installation import Installation

SENTENCE = "lb-2 does not announce 192.0.2.0. Its BIRD says that 10.0.0.1 is Idle: see `birdc show protocols`."


@dataclass(frozen=True)
class Do:
    """A step with something to show."""

    title: str
    address: str = "192.0.2.0"
    services: Mapping[str, int] = field(default_factory=lambda: {"http": 80, "https": 443})


def do(title: str) -> Step:
    """A leaf."""
    return Step(Do(title))


def tree(name: str) -> Job:
    """What a change of a load balancer is, with a branch for each LB node."""
    return sequence(
        f"bring {name} to generation 7",
        parallel("prepare hypervisors", do("rules on hv-1"), do("rules on hv-2")),
        Try(
            "serve and announce",
            parallel(
                "LB nodes",
                sequence("lb-1", do("serve 2 services on lb-1"), do("announce 192.0.2.0 from lb-1")),
                sequence("lb-2", do("serve 2 services on lb-2"), do("announce 192.0.2.0 from lb-2")),
            ),
            rescue=do("withdraw from nodes that failed"),
            ensure=do("tell the watch"),
        ),
        do("record that it is running"),
    )


def begun(api: Installation, entity_id: str, name: str, *, at: float, epoch: int = 1) -> Journal:
    """A job that has written its tree."""
    claim = Claim(
        entity=Entity("load-balancer", entity_id),
        holder="one",
        epoch=epoch,
        requested=1,
        attempts=0,
        lease_until=9e9,
        reasons=(),
    )
    journal = Journal(orchestration, api.database.write, replace(claim), f"bring {name} to generation 7")
    journal.begin(tree(name), at)
    return journal


def done(journal: Journal, *paths: Path, at: float, took: float = 0.0) -> None:
    """These nodes began and ended well."""
    for path in paths:
        journal.started(path, at)
        journal.ended(path, at + took, output={"observed": "as it should be"} if len(path) > 2 else None)


def halfway(journal: Journal, at: float) -> None:
    """Hypervisors are ready, lb-1 announces, lb-2 is at it."""
    journal.started((1,), at)
    journal.started((1, 1), at)
    done(journal, (1, 1, 1), (1, 1, 2), at=at, took=0.3)
    journal.ended((1, 1), at + 0.31)
    for path in ((1, 2), (1, 2, 1), (1, 2, 1, 1), (1, 2, 1, 2)):
        journal.started(path, at + 0.4)
    done(journal, (1, 2, 1, 1, 1), (1, 2, 1, 2, 1), at=at + 0.4, took=1.25)
    journal.started((1, 2, 1, 1, 2), at + 2)
    journal.started((1, 2, 1, 2, 2), at + 2)


def one_fails(journal: Journal, at: float) -> None:
    """lb-2 cannot announce, lb-1 is still at it."""
    journal.failed((1, 2, 1, 2, 2), at, SENTENCE)
    journal.failed((1, 2, 1, 2), at, SENTENCE)


def fails(journal: Journal, at: float) -> None:
    """And so the whole job fails, although the rescue and the finally went well."""
    journal.ended((1, 2, 1, 1, 2), at)
    journal.ended((1, 2, 1, 1), at)
    journal.failed((1, 2, 1), at, SENTENCE)
    journal.started((1, 2, 2), at)
    journal.failed((1, 2, 2), at, SENTENCE)
    done(journal, (1, 2, 3), at=at, took=0.2)
    journal.failed((1, 2), at, SENTENCE)
    journal.failed((1,), at, SENTENCE)
    journal.end(at + 0.2, SENTENCE)


def succeeds(journal: Journal, at: float) -> None:
    """Everything goes well."""
    for path in ((1, 2, 1, 1, 2), (1, 2, 1, 2, 2), (1, 2, 1, 1), (1, 2, 1, 2), (1, 2, 1)):
        journal.ended(path, at)
    done(journal, (1, 2, 3), (1, 3), at=at, took=0.2)
    journal.ended((1, 2), at)
    journal.ended((1,), at)
    journal.end(at + 0.2)
