"""What fields of our bodies have in common: kebab-case names, strict types, bounded text, nothing unknown."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.health_check_rules import HOST_NAME

LABELS_MAX = 64
_PREFIX_MIN = {4: 8, 6: 32}  # bits, by version
AddressFamily = Literal["inet4", "inet6"]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class View(BaseModel):
    """What we answer. Clients of a newer version may meet fields they do not know: they skip them."""

    model_config = ConfigDict(alias_generator=_kebab, validate_by_name=True, validate_by_alias=True, extra="ignore")


class Body(BaseModel):
    """What we are sent: a string is no number, an unknown field is refused, and so is null where a value belongs."""

    model_config = ConfigDict(
        alias_generator=_kebab, validate_by_name=False, validate_by_alias=True, extra="forbid", strict=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("null is no value: leave the field out")
        return value


def plain_text(value: str) -> str:
    """Refuse control characters and line separators: they forge log lines and break terminals."""
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in value):
        raise ValueError("control characters are not allowed: remove them")
    return value


def _visible(value: str) -> str:
    if not value.strip():
        raise ValueError("a name needs a visible character: write one")
    return value


def _string(value: object) -> object:
    # Lax parsing of addresses and identifiers would take numbers and bytes too.
    if not isinstance(value, str):
        raise ValueError("a string is needed here")  # noqa: TRY004  (pydantic reports ValueError only)
    return value


def _parsed(parse: Callable[[str], object]) -> Callable[[object], object]:
    """Made of a string by `parse`, whose ValueError says what is wrong."""
    return lambda value: parse(str(_string(value)))


def _few(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > LABELS_MAX:
        raise ValueError(f"at most {LABELS_MAX} labels are allowed: remove some")
    return labels


def _uri(value: str) -> str:
    if not value.startswith("/") or any(not "!" <= character <= "~" for character in value):
        raise ValueError("a path is needed: it starts with '/' and has no spaces, as in '/status'")
    return value


def _host_name(value: str) -> str:
    if not HOST_NAME.fullmatch(value):
        raise ValueError("a host name is needed, as in 'www.example.net'")
    return value


def _agent_url(value: str) -> str:
    parts = urlsplit(plain_text(value))
    more = parts.username or parts.query or parts.fragment or parts.port == 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or more:
        raise ValueError("a URL is needed, as in 'http://192.0.2.10:7701'")
    return value.rstrip("/")


def _token(value: str) -> str:
    if any(not "!" <= character <= "~" for character in value):
        raise ValueError("only visible ASCII characters are allowed: generate a token with 'openssl rand -hex 32'")
    return value


def _global_form(value: IPAddress) -> IPAddress:
    if isinstance(value, IPv6Address) and (value.scope_id or value.ipv4_mapped):
        raise ValueError("an address without a zone is needed, and IPv4 as IPv4")
    return value


def _unicast(value: IPAddress) -> IPAddress:
    on_link = value.version == 6 and value.is_link_local
    if value.is_multicast or value.is_loopback or value.is_unspecified or value.is_reserved or on_link:
        raise ValueError("an address of a machine is needed, as in '10.0.0.1'")
    return value


def _range(value: IPNetwork) -> IPNetwork:
    least = _PREFIX_MIN[value.version]
    if value.prefixlen < least:
        raise ValueError(f"the range is too large: its prefix must have {least} bits or more")
    _global_form(value.network_address)
    for address in (value[0], value[-1]):
        _unicast(address)
    return value


Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(plain_text), AfterValidator(_visible)]
Description = Annotated[str, Field(max_length=255), AfterValidator(plain_text)]
_LabelKey = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(plain_text)]
_LabelValue = Annotated[str, Field(max_length=255), AfterValidator(plain_text)]
Labels = Annotated[dict[_LabelKey, _LabelValue], AfterValidator(_few)]
Port = Annotated[int, Field(ge=1, le=65535)]
Identifier = Annotated[UUID, Field(strict=False), BeforeValidator(_string)]
Address = Annotated[IPAddress, BeforeValidator(_parsed(ip_address)), AfterValidator(_global_form)]
MachineAddress = Annotated[Address, AfterValidator(_unicast)]
Network = Annotated[IPNetwork, BeforeValidator(_parsed(ip_network)), AfterValidator(_range)]
DrainDeadline = Annotated[int, Field(ge=0, le=604_800)]
Uri = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_uri)]
HostName = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_host_name)]
AgentUrl = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_agent_url)]
Token = Annotated[str, Field(min_length=16, max_length=255), AfterValidator(_token)]


def version_of(family: AddressFamily | None) -> int | None:
    """4 or 6."""
    return None if family is None else int(family.removeprefix("inet"))


def family_of(address: IPAddress) -> AddressFamily:
    """What the public API calls the address's family."""
    return "inet4" if address.version == 4 else "inet6"
