"""Messages from elsewhere, as JSON with kebab-case names. A field is only ever added; what changes gets a new version.

A machine event on the bus, under the machine's own name as the key:

    {"version": 1, "kind": "migrated", "machine": "vm-17", "address": "10.0.0.5", "hypervisor": "hv2",
     "at": "2026-01-31T12:00:00Z", "sequence": 42}
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter

from bascule.events.interface import Topic
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.wire.fields import MachineAddress, Name, View

SEQUENCE_MAX = 2**63 - 1


class MachineEventKind(StrEnum):
    """What became of a machine."""

    CREATED = "created"
    DELETED = "deleted"
    STARTED = "started"
    STOPPED = "stopped"
    MIGRATING = "migrating"
    MIGRATED = "migrated"


class _Message(View):
    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    at: AwareDatetime


class MachineEvent(_Message):
    """One machine, as whoever manages hypervisors tells of it.

    `machine` is the sender's own name for it, the same in all its events. `pool` and `hypervisor` are names or
    identifiers of ours: a machine comes into a pool only by an event that names one. `hypervisor` is where the machine
    is now, or where it is about to be when it is `migrating`. `sequence` grows with every event of one machine; without
    it `at` orders them.
    """

    kind: MachineEventKind
    machine: Name
    address: MachineAddress | None = None
    name: Name | None = None
    pool: Name | None = None
    hypervisor: Name | None = None
    sequence: Annotated[int, Field(ge=0, le=SEQUENCE_MAX)] | None = None


class KubernetesEventKind(StrEnum):
    """The words of the watch of Kubernetes' API."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class KubernetesEvent(_Message):
    """An object of a cluster that concerns load balancers was changed. Who handles it reads the object itself."""

    kind: KubernetesEventKind
    cluster: Name
    resource: Name
    namespace: str = ""
    name: Name
    resource_version: str = ""


MACHINES: Topic[MachineEvent] = Topic("bascule.machines", TypeAdapter(MachineEvent))
KUBERNETES: Topic[KubernetesEvent] = Topic("bascule.kubernetes", TypeAdapter(KubernetesEvent))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What the agent of one machine, registered as `node_id`, reported; `at` is seconds since the epoch, before it
    answered. One of both reports is there. It says what the machine is like for `good_for` seconds. `published`: the
    agent told it by itself, and nobody asked.
    """

    node_id: UUID
    at: float
    lb_node: LBNodeReport | None = None
    hypervisor: HypervisorReport | None = None
    good_for: float = 15.0
    published: bool = False
    version: Literal[1] = 1


REPORTS: Topic[NodeReport] = Topic("bascule.reports", TypeAdapter(NodeReport))
