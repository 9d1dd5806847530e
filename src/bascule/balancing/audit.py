"""Compare what nodes report with the expected state, and name each difference. Pure.

missing       a node lacks what it should have
extra         a node has what it should not have
stale-epoch   a node obeys a command that is older than the expected state, or later than this store ever gave
foreign       a node carries a load balancer that this store never knew: it is listed and left alone, for this may
              be the wrong or an older database
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from bascule.balancing import desired
from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView
from bascule.model.configurations import BalancerConfiguration, ForwardingRule, ServiceConfiguration, Version

_NAMED_AT_MOST = 3


class DriftKind(StrEnum):
    """How a node differs."""

    MISSING = "missing"
    EXTRA = "extra"
    STALE_EPOCH = "stale-epoch"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of difference of one load balancer on one node; `words` say what exactly."""

    kind: DriftKind
    node_id: UUID
    node: str
    load_balancer_id: UUID
    words: str

    @property
    def key(self) -> str:
        """What makes it the same finding at the next audit."""
        return f"{self.kind}/{self.node_id}/{self.load_balancer_id}"


def audit(inventory: Inventory) -> Iterator[Finding]:
    """Every difference of one load balancer that is settled; `inventory.epoch` is the last that was given for it.

    Nodes that do not answer are not judged.
    """
    wanted = desired.balancer_configuration(inventory, announced=True)
    for view in inventory.lb_nodes:
        drains = view.node.drain_until is not None and view.node.id in inventory.leaving
        if view.reachable and not drains:
            found = tuple(_on_lb_node(view, inventory.placements, wanted))
            yield from _findings(found, view.node.id, view.node.name, inventory, _version(view))
    rules = desired.rules_by_hypervisor(inventory)
    former = desired.former_rules(inventory, rules)
    for host in inventory.hypervisors:
        if host.reachable:
            key = host.hypervisor.id
            found = tuple(_on_hypervisor(host, rules.get(key, frozenset()), former.get(key, frozenset())))
            version = None if host.configuration is None else host.configuration.version
            yield from _findings(found, host.hypervisor.id, host.hypervisor.name, inventory, version)


def foreign(node_id: UUID, node: str, carried: Iterable[UUID], known: Set[UUID], gone: Set[UUID]) -> Iterator[Finding]:
    """What a node carries of which this store has no row; `gone` are those that it remembers as deleted."""
    for load_balancer_id in sorted(set(carried) - known):
        deleted = load_balancer_id in gone
        yield Finding(
            kind=DriftKind.EXTRA if deleted else DriftKind.FOREIGN,
            node_id=node_id,
            node=node,
            load_balancer_id=load_balancer_id,
            words="was deleted: it is being taken off" if deleted else "was never in this store: it is left alone",
        )


def _version(view: LBNodeView) -> Version | None:
    return None if view.balancer is None else view.balancer.configuration.version


def _findings(
    found: tuple[tuple[DriftKind, str], ...], node_id: UUID, node: str, inventory: Inventory, version: Version | None
) -> Iterator[Finding]:
    """A finding for each kind. An old command explains every difference there is."""
    by_kind: dict[DriftKind, list[str]] = {}
    stale = _stale(version, inventory, differs=bool(found))
    if stale:
        by_kind[DriftKind.STALE_EPOCH] = [stale]
    if not stale or version is None or version.epoch > inventory.epoch:
        for kind, one in found:
            by_kind.setdefault(kind, []).append(one)
    for kind, words in by_kind.items():
        yield Finding(
            kind=kind,
            node_id=node_id,
            node=node,
            load_balancer_id=inventory.load_balancer.id,
            words=_listed(words),
        )


def _stale(version: Version | None, inventory: Inventory, *, differs: bool) -> str:
    """Empty when the version is in order. A node that has what it should have need not have heard the last command."""
    if version is None:
        return ""
    if version.epoch > inventory.epoch:
        return (
            f"obeys epoch {version.epoch}, and this store gave {inventory.epoch} at most: was an older database"
            " restored, or does another one command this node?"
        )
    if differs and version.generation < inventory.load_balancer.generation:
        return f"obeys generation {version.generation} of {inventory.load_balancer.generation}"
    return ""


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED_AT_MOST} more" if len(words) > _NAMED_AT_MOST else ""
    return ", ".join(words[:_NAMED_AT_MOST]) + more


def _on_hypervisor(
    view: HypervisorView, needed: Set[ForwardingRule], former: Set[ForwardingRule]
) -> Iterator[tuple[DriftKind, str]]:
    """`former` rules stay for LB nodes that may still send by them."""
    rules = frozenset() if view.configuration is None else frozenset(view.configuration.rules)
    for rule in sorted(needed - rules):
        yield DriftKind.MISSING, _rule(rule)
    for rule in sorted(rules - needed - former):
        yield DriftKind.EXTRA, _rule(rule)


def _rule(rule: ForwardingRule) -> str:
    return f"{rule.protocol}/{rule.port} to {rule.instance} port {rule.target_port}"


def _on_lb_node(
    view: LBNodeView, placements: Set[UUID], wanted: BalancerConfiguration
) -> Iterator[tuple[DriftKind, str]]:
    placed = view.node.id in placements
    if view.balancer is None:
        if placed:
            yield DriftKind.MISSING, "the load balancer"
    elif not placed:
        yield DriftKind.EXTRA, "the load balancer, which is placed elsewhere"
    else:
        yield from _in_configuration(view.balancer.configuration, wanted)


def _in_configuration(has: BalancerConfiguration, wanted: BalancerConfiguration) -> Iterator[tuple[DriftKind, str]]:
    if not has.announced:
        yield DriftKind.MISSING, "its announcement"
    if (has.address, has.hash_seed) != (wanted.address, wanted.hash_seed):
        yield DriftKind.MISSING, f"the address {wanted.address} with its hash seed"
    if has.services == wanted.services:
        return
    mine, expected = _by_endpoint(has), _by_endpoint(wanted)
    for endpoint in expected.keys() - mine.keys():
        yield DriftKind.MISSING, f"service {endpoint}"
    for endpoint in mine.keys() - expected.keys():
        yield DriftKind.EXTRA, f"service {endpoint}"
    for endpoint in sorted(mine.keys() & expected.keys()):
        yield from _in_service(endpoint, mine[endpoint], expected[endpoint])


def _by_endpoint(configuration: BalancerConfiguration) -> Mapping[str, ServiceConfiguration]:
    return {f"{service.protocol}/{service.port}": service for service in configuration.services}


def _in_service(
    endpoint: str, has: ServiceConfiguration, wanted: ServiceConfiguration
) -> Iterator[tuple[DriftKind, str]]:
    if replace(has, backends=()) != replace(wanted, backends=()):
        yield DriftKind.MISSING, f"the settings of {endpoint}"
    if has.backends == wanted.backends:
        return
    mine, expected = frozenset(has.backends), frozenset(wanted.backends)
    addresses = {backend.address for backend in expected}
    for backend in wanted.backends:
        if backend not in mine:
            yield DriftKind.MISSING, f"{endpoint} to {backend.address} with weight {backend.weight}"
    for backend in has.backends:
        if backend.address not in addresses:
            yield DriftKind.EXTRA, f"{endpoint} to {backend.address}"
