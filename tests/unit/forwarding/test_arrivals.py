"""Who is kept from speaking on a hypervisor that it has yet to come to, and for how long."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from bascule.forwarding.ebpf.arrivals import SETTLING, Arrivals
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol

ONE, SIX = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
VIP, VIP6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")


def rule(instance: IPAddress, protocol: Protocol = Protocol.TCP) -> ForwardingRule:
    vip = VIP if instance.version == 4 else VIP6
    return ForwardingRule(vip, protocol, 80, instance, target_port=8080)


class Kernel:
    """What nftables was told last, and a clock."""

    def __init__(self) -> None:
        self.told: list[dict[tuple[str, str], int]] = []
        self.time = 100.0
        self.broken = False
        self.arrivals = Arrivals(self.tell, lambda: self.time)

    def tell(self, script: str) -> None:
        """Read the elements with their time-outs in milliseconds."""
        if self.broken:
            raise SystemFailure("nft is not installed.")
        element = r"add element inet bascule-arrivals (\w+)[46] \{ (\S+) \. 8080 timeout (\d+)ms \}"
        self.told.append({(name, address): int(left) for name, address, left in re.findall(element, script)})


def test_nothing_is_said_while_everybody_is_here() -> None:
    """Where all instances are, nftables is left alone; datagrams hold nobody back."""
    kernel = Kernel()
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {ONE, SIX})
    kernel.arrivals.enforce([rule(ONE, Protocol.UDP)], set())
    assert kernel.told == []


def test_who_is_awaited_is_held_back_until_it_settled() -> None:
    """From the first rule until shortly after it came, and not longer, whether or not anybody looks again."""
    kernel = Kernel()
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {SIX})
    assert kernel.told == [{("awaited", "10.0.0.1"): 10_000}]
    kernel.time += 1
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {SIX})
    assert len(kernel.told) == 1
    kernel.time += 3
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {SIX})
    assert len(kernel.told) == 2, "the kernel would forget it"
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {ONE, SIX})
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {ONE, SIX})
    kernel.time += SETTLING + 0.01
    kernel.arrivals.enforce([rule(ONE), rule(SIX)], {ONE, SIX})
    assert kernel.told[-1] == {}


def test_the_moment_after_it_came_is_short() -> None:
    """From the pass that finds the instance its clients may be heard, and the time is a short one."""
    kernel = Kernel()
    kernel.arrivals.enforce([rule(SIX)], set())
    kernel.arrivals.enforce([rule(SIX)], {SIX})
    assert kernel.told == [{("awaited", "fd00::1"): 10_000}, {("settling", "fd00::1"): round(SETTLING * 1000)}]


def test_a_rule_that_goes_holds_nobody_back() -> None:
    """A move that was called off leaves nothing in the kernel."""
    kernel = Kernel()
    kernel.arrivals.enforce([rule(ONE)], set())
    kernel.arrivals.enforce([], set())
    assert kernel.told[-1] == {}


def test_without_nftables_nobody_is_held_back() -> None:
    """It is tried again at the next pass, and is nobody's failure."""
    kernel = Kernel()
    kernel.broken = True
    kernel.arrivals.enforce([rule(ONE)], set())
    kernel.broken = False
    kernel.arrivals.enforce([rule(ONE)], set())
    assert kernel.told == [{("awaited", "10.0.0.1"): 10_000}]
