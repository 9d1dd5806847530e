"""The fake can be made to fail."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bascule.forwarding.fake import FakeForwarding
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol

RULE = ForwardingRule(IPv4Address("203.0.113.10"), Protocol.TCP, 80, IPv4Address("10.128.0.11"), 8080)


def test_a_broken_fake_changes_nothing() -> None:
    """While broken it fails with the sentence it was given and keeps what it had; mended, it obeys."""
    fake = FakeForwarding()
    fake.start()
    fake.broken = "The kernel is out of memory."
    with pytest.raises(SystemFailure, match="out of memory"):
        fake.enforce({RULE})
    assert not fake.rules

    fake.broken = None
    fake.enforce({RULE})

    assert fake.rules == {RULE}


def test_a_broken_fake_does_not_start() -> None:
    """Start fails with the sentence."""
    fake = FakeForwarding()
    fake.broken = "No BPF here."

    with pytest.raises(SystemFailure, match="No BPF"):
        fake.start()
