"""Options that are more than a word: addresses, networks and labels."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

import typer

from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.strategies import ALIASES, Strategy


class Method(StrEnum):
    """How packets get to an instance. What is on an LB node itself, that node sees."""

    TUNNEL = "tunnel"
    DIRECT = "direct"
    TRANSLATION = "translation"


class OwnMethod(StrEnum):
    """The same for one instance, which may leave it to its services."""

    TUNNEL = "tunnel"
    DIRECT = "direct"
    TRANSLATION = "translation"
    AS_SERVICE = "as-service"


class Family(StrEnum):
    """Families of addresses, as Exoscale calls them."""

    INET4 = "inet4"
    INET6 = "inet6"


def address_of(text: str) -> IPAddress:
    """An address from the command line. Raises typer.BadParameter."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no address: write it as in 192.0.2.10 or 2001:db8::10.") from error


def network_of(text: str) -> IPNetwork:
    """A range from the command line. Raises typer.BadParameter."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no network ({error}): write it as in 192.0.2.0/24 or 2001:db8::/64."
        ) from error


def strategy_of(text: str) -> Strategy:
    """A strategy by any of its names. Raises typer.BadParameter that lists them."""
    try:
        return ALIASES.get(text) or Strategy(text)
    except ValueError as error:
        names = ", ".join([*sorted(Strategy), *sorted(ALIASES)])
        raise typer.BadParameter(f"{text!r} is no strategy: choose one of {names}.") from error


def persistence_of(text: str) -> dict[str, int]:
    """Seconds, and after a slash a prefix length, as the API takes them. Raises typer.BadParameter."""
    seconds, slash, prefix = text.partition("/")
    try:
        return {"timeout": int(seconds), **({"prefix-length": int(prefix)} if slash else {})}
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no persistence: write SECONDS or SECONDS/PREFIX, as in 300/24."
        ) from error


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


def seconds_of(text: str) -> int:
    """Seconds, or a number with its unit. Raises typer.BadParameter."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration: write it as in 90s, 5m or 1h; 0 is at once.")
    return int(found[1]) * _UNITS[found[2]]


def labels_of(given: list[str] | None) -> dict[str, str] | None:
    """Labels from the command line; None when there are none. Raises typer.BadParameter."""
    if not given:
        return None
    labels = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is no label: write KEY=VALUE.")
        labels[key] = value
    return labels


DeadlineOption = Annotated[
    Any,
    typer.Option(
        "--deadline",
        parser=seconds_of,
        metavar="DURATION",
        help="How long connections are kept at most, as in 90s, 5m or 1h; 0 is not at all. The installation's without.",
        show_default=False,
    ),
]

# Typer takes no union of the two families; the parsers say what comes out.
AddressOption = Annotated[
    Any,
    typer.Option("--ip", parser=address_of, metavar="ADDRESS", help="The address; the lowest free one without it."),
]
FamilyOption = Annotated[
    Family | None,
    typer.Option("--family", help="Which family of address to take; of IPv4 without it.", show_default=False),
]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeat it for more.")
]
