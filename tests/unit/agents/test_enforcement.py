"""One pass of an LB node: the order of things, and what happens when a driver fails."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from bascule.agents.lb_node import serving
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.serving import Desired
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.fake import FakeDataPlane
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport, SessionReport
from bascule.model.virtual_services import VirtualService
from tests.unit.agents.builders import VIP, balancer, service

OTHER = IPv4Address("192.0.2.2")


class Diary:
    """Both fakes, and the order in which they were told things."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        diary = self.lines

        class DataPlane(FakeDataPlane):
            def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
                diary.append(f"serve {_names(addresses)}")
                return super().enforce(addresses, services)

        class Announcer(FakeAnnouncer):
            def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
                diary.append(f"announce {_names(addresses)}")
                return super().enforce(addresses)

        self.data_plane, self.announcer = DataPlane(), Announcer()
        self.enforcement = Enforcement(self.data_plane, self.announcer)


def _names(addresses: Set[IPAddress]) -> str:
    return " ".join(str(address) for address in sorted(addresses)) or "nothing"


def desire(*addresses: IPv4Address, leaving: Set[UUID] = frozenset()) -> Desired:
    """One load balancer for each address."""
    configurations = [balancer(service(), number=int(each), address=each) for each in addresses]
    return serving.desire(configurations, {}, leaving)


def test_serve_before_announce() -> None:
    """No router hears of an address before the data plane is ready for it."""
    diary = Diary()
    observed = diary.enforcement.apply(desire(VIP))
    assert diary.lines == [f"serve {VIP}", f"announce {VIP}"]
    assert observed.announcer.announced == {VIP}
    assert observed.problems == ()


def test_withdraw_before_remove() -> None:
    """Even when an address vanishes from the desired state in one step, its withdrawal comes first."""
    diary = Diary()
    diary.enforcement.apply(desire(VIP, OTHER))
    diary.lines.clear()
    diary.enforcement.apply(desire(OTHER))
    assert diary.lines == [f"announce {OTHER}", f"serve {OTHER}", f"announce {OTHER}"]


def test_a_refused_change_withdraws_nobody_else() -> None:
    """When the data plane refuses, what it carries stays announced, what is new is not, and the report tells."""
    diary = Diary()
    diary.enforcement.apply(desire(VIP))
    diary.data_plane.broken = "The kernel said no."
    observed = diary.enforcement.apply(desire(VIP, OTHER))
    assert observed.announcer.announced == {VIP}
    assert "data plane: The kernel said no." in observed.problems


def test_a_broken_data_plane_draws_no_traffic() -> None:
    """What the data plane lost and cannot repair is withdrawn and the report says why; it comes back by itself."""
    diary = Diary()
    diary.enforcement.apply(desire(VIP))
    diary.data_plane.broken = "The kernel said no."
    diary.data_plane.addresses.clear()
    observed = diary.enforcement.apply(desire(VIP))
    assert observed.announcer.announced == frozenset()
    assert "data plane: The kernel said no." in observed.problems
    diary.data_plane.broken = None
    assert diary.enforcement.apply(desire(VIP)).announcer.announced == {VIP}


def test_a_data_plane_that_cannot_start_is_tried_again() -> None:
    """A missing kernel feature at boot does not stop the agent, and nothing is announced meanwhile."""
    diary = Diary()
    diary.data_plane.broken = "No such program."
    observed = diary.enforcement.apply(desire(VIP))
    assert not diary.announcer.announced
    assert observed.problems
    diary.data_plane.broken = None
    assert diary.enforcement.apply(desire(VIP)).problems == ()


def test_a_broken_announcer_does_not_stop_serving() -> None:
    """Each driver does its part whatever happens to the other."""
    diary = Diary()
    diary.announcer.broken = "BIRD is not installed."
    observed = diary.enforcement.apply(desire(VIP))
    assert observed.data_plane.ready == {VIP}
    assert observed.problems == ("announcer: BIRD is not installed.",)


def test_drift_is_a_repair_and_a_command_is_a_change() -> None:
    """Only what a foreign hand did counts as a repair."""
    diary = Diary()
    first = diary.enforcement.apply(desire(VIP))
    assert first.changes
    assert not first.repairs
    diary.announcer.announced.clear()
    second = diary.enforcement.apply(desire(VIP))
    assert second.repairs
    assert not second.changes
    third = diary.enforcement.apply(desire(VIP))
    assert not third.repairs


def test_what_was_not_seen_withdrawn_counts_as_announced() -> None:
    """An announcer that fails cannot pretend that an address is withdrawn."""
    diary = Diary()
    diary.enforcement.apply(desire(VIP))
    diary.announcer.broken = "BIRD is stuck."
    leaving = replace(desire(VIP), announced=frozenset())
    assert diary.enforcement.apply(leaving).announcer.announced == {VIP}


def test_new_services_that_the_data_plane_refuses_are_not_in_force() -> None:
    """The address is served as before, so it stays announced; but nobody is told that it follows its new order."""

    class DataPlane(FakeDataPlane):
        full = False

        def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
            if self.full:
                raise SystemFailure("The table is full.")
            return super().enforce(addresses, services)

    data_plane = DataPlane()
    enforcement = Enforcement(data_plane, FakeAnnouncer())
    other = balancer(service(), number=int(OTHER), address=OTHER)
    old, new = (balancer(*services, number=int(VIP), address=VIP) for services in ((service(),), ()))
    assert enforcement.apply(serving.desire([old, other], {}, frozenset())).of == (old, other)
    data_plane.full = True
    refused = enforcement.apply(serving.desire([new, other], {}, frozenset()))
    assert refused.announcer.announced == {VIP, OTHER}
    assert refused.of == (other,)
    data_plane.full = False
    assert enforcement.apply(serving.desire([new, other], {}, frozenset())).of == (new, other)


@pytest.mark.parametrize(
    ("up", "bfd", "sentences"),
    [
        (True, True, []),
        (True, False, ["BFD with 192.0.2.2 is silent"]),
        (False, False, ["session with 192.0.2.2 is down"]),
    ],
)
def test_what_is_wrong_with_a_session_is_said_once(up: bool, bfd: bool, sentences: list[str]) -> None:
    """One that is down, and one that nothing watches over: then a death is noticed late."""

    class Announcer(FakeAnnouncer):
        def observe(self) -> AnnouncerReport:
            return replace(super().observe(), sessions=(SessionReport(neighbor=OTHER, state="said", up=up, bfd=bfd),))

    problems = Enforcement(FakeDataPlane(), Announcer()).apply(desire(VIP)).problems
    assert len(problems) == len(sentences)
    assert all(sentence in problem for sentence, problem in zip(sentences, problems, strict=True))
