"""Options that are more than a word: addresses, networks and labels."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

import typer

from bascule.model.addresses import IPAddress


def address_of(text: str) -> IPv4Address:
    """An address from the command line. Raises typer.BadParameter."""
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no IPv4 address: write it as in 192.0.2.10.") from error


def network_of(text: str) -> IPv4Network:
    """A range from the command line. Raises typer.BadParameter."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no IPv4 network ({error}): write it as in 192.0.2.0/24.") from error


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


AddressOption = Annotated[
    IPAddress | None,
    typer.Option("--ip", parser=address_of, metavar="ADDRESS", help="The address; the lowest free one without it."),
]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeat it for more.")
]
