"""BIRD's configuration: pure. Every value is a number, an address or a checked path, so there is nothing to escape."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from bascule.model.addresses import IPAddress
from bascule.model.errors import InvalidInput

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_AS_MAX = 2**32 - 1  # RFC 6793
# BIRD's strings end at the next quote and know no escapes; the kernel takes 80 bytes (TCP_MD5SIG_MAXKEYLEN).
_PASSWORD = re.compile(r"[ !#-~]{1,80}")
PREPEND_MAX = 10
BFD_INTERVAL_MIN, BFD_INTERVAL_MAX = 10, 60_000
BFD_MULTIPLIER_MIN, BFD_MULTIPLIER_MAX = 2, 255
_NEIGHBORS = "bgp_neighbors"

_TEMPLATE = """\
# Written by the bascule LB agent, which writes it again when it is changed.
log "{{ log }}" 1048576 "{{ log }}.old" { info, remote, warning, error, auth, fatal, bug };
router id {{ router_id }};
{% for channel in channels %}

{{ channel.name }} table {{ channel.table }};
{% endfor %}

protocol device { }

# What the agent puts into kernel table {{ table }} is announced. Nothing is ever written back to the kernel.
{% for channel in channels %}
{% if not loop.first %}

{% endif %}
protocol kernel {{ channel.source }} {
  learn;
  kernel table {{ table }};
  scan time 10;
  {{ channel.name }} {
    table {{ channel.table }};
    import where (krt_source = {{ owner }} || krt_source = {{ leaving }}) && net.len = {{ channel.bits }};
    export none;
  };
}
{% endfor %}

filter announce {
  if proto != "announced" && proto != "announced6" then reject;
  # GRACEFUL_SHUTDOWN (RFC 8326): routers prefer whoever else announces it, for it goes in a moment.
  if krt_source = {{ leaving }} then bgp_community.add((65535, 0));
{% for _ in range(prepend) %}
  bgp_path.prepend({{ local_as }});
{% endfor %}
  accept;
}

protocol bfd {
  interface "*" {
    min rx interval {{ bfd_interval_ms }} ms;
    min tx interval {{ bfd_interval_ms }} ms;
    multiplier {{ bfd_multiplier }};
  };
}
{% for neighbor in neighbors %}
{% set channel = by_family[neighbor.address.version] %}

protocol bgp router{{ loop.index }} {
  local as {{ local_as }};
  neighbor {{ neighbor.address }} as {{ neighbor.asn }};
  bfd on;
{% if ttl_security %}
  ttl security on;
{% endif %}
{% if password %}
  password "{{ password }}";
{% endif %}
  hold time 9;
  keepalive time 3;
  connect retry time 2;
  connect delay time 1;
  error wait time 1, 10;
  {{ channel.name }} {
    table {{ channel.table }};
    import none;
    export filter announce;
    next hop self;
  };
}
{% endfor %}"""


@dataclass(frozen=True, slots=True)
class _Channel:
    """What a session carries: addresses of its own family, so that the router's next hop is one of that family too."""

    name: str
    table: str
    source: str
    bits: int


_CHANNELS = {4: _Channel("ipv4", "vips", "announced", 32), 6: _Channel("ipv6", "vips6", "announced6", 128)}


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A router and its AS number. It hears of the addresses of its own family."""

    address: IPAddress
    asn: int

    @classmethod
    def parse(cls, text: str) -> Neighbor:
        """Read "192.0.2.1/65000" or "2001:db8::1/65000". Raises InvalidInput."""
        host, _, asn = text.partition("/")
        try:
            address = ip_address(host)
            # A link's own addresses need the link's name, which may hold anything.
            if address.is_link_local or "%" in host:
                raise InvalidInput(
                    f"{host} is known on one link only: give the neighbor's global or private address.",
                    field=_NEIGHBORS,
                )
            return cls(address, _as_number(int(asn), _NEIGHBORS))
        except ValueError:
            raise InvalidInput(
                f"{text!r} is not a neighbor: write address/AS, such as 192.0.2.1/65000.", field=_NEIGHBORS
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpOptions:
    """All that shapes the configuration. Raises InvalidInput when a value is out of range; its field is a setting's.

    `password` signs every session's segments (TCP MD5, RFC 2385), empty for none. With `ttl_security` only who is one
    hop away is listened to (RFC 5082); the router must do the same. `prepend` is how many times more our AS number is
    named: routers send to whom has fewer. Of `owner` are the routes in `table` that are announced, of `leaving` those
    that are announced as a last resort.
    """

    local_as: int
    router_id: IPv4Address
    neighbors: tuple[Neighbor, ...]
    bfd_interval_ms: int = 300
    bfd_multiplier: int = 3
    table: int = 7900
    owner: int = 79
    leaving: int = 80
    password: str = field(default="", repr=False)
    ttl_security: bool = False
    prepend: int = 0

    @property
    def families(self) -> frozenset[int]:
        """The families of which there is a neighbor to tell."""
        return frozenset(neighbor.address.version for neighbor in self.neighbors)

    def __post_init__(self) -> None:
        _as_number(self.local_as, "bgp_local_as")
        for neighbor in self.neighbors:
            _as_number(neighbor.asn, _NEIGHBORS)
        if len({neighbor.address for neighbor in self.neighbors}) != len(self.neighbors):
            raise InvalidInput("A BGP neighbor is listed twice: name each router once.", field=_NEIGHBORS)
        if any(neighbor.asn == self.local_as for neighbor in self.neighbors):
            raise InvalidInput(
                "A BGP neighbor has our own AS number: only external BGP is spoken, use another AS.", field=_NEIGHBORS
            )
        if not BFD_INTERVAL_MIN <= self.bfd_interval_ms <= BFD_INTERVAL_MAX:
            raise InvalidInput(
                f"BFD wants an interval of {BFD_INTERVAL_MIN} to {BFD_INTERVAL_MAX} ms.", field="bfd_interval_ms"
            )
        if not BFD_MULTIPLIER_MIN <= self.bfd_multiplier <= BFD_MULTIPLIER_MAX:
            raise InvalidInput(
                f"BFD wants a multiplier of {BFD_MULTIPLIER_MIN} to {BFD_MULTIPLIER_MAX}.", field="bfd_multiplier"
            )
        if not 0 <= self.prepend <= PREPEND_MAX:
            raise InvalidInput(f"An AS number is prepended 0 to {PREPEND_MAX} times.", field="bgp_prepend")
        if self.password and not _PASSWORD.fullmatch(self.password):
            raise InvalidInput(
                "A BGP password is up to 80 printable characters of ASCII, without quotes.", field="bgp_password_file"
            )


def _as_number(number: int, field: str) -> int:
    if not 1 <= number <= _AS_MAX:
        raise InvalidInput(f"{number} is not an AS number: use 1 to {_AS_MAX}.", field=field)
    return number


def render(options: BgpOptions, log: Path) -> str:
    """The whole configuration file; `log` is BIRD's log file. Raises InvalidInput when the path needs quoting."""
    if not _PLAIN_PATH.fullmatch(str(log)):
        raise InvalidInput(f"{log} cannot be written into BIRD's configuration: use letters, digits, dots and dashes.")
    # The output is not HTML: escaping would corrupt it, and the options hold nothing that needs it.
    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)  # noqa: S701
    return environment.from_string(_TEMPLATE).render(
        log=log,
        router_id=options.router_id,
        table=options.table,
        owner=options.owner,
        leaving=options.leaving,
        password=options.password,
        ttl_security=options.ttl_security,
        prepend=options.prepend,
        bfd_interval_ms=options.bfd_interval_ms,
        bfd_multiplier=options.bfd_multiplier,
        local_as=options.local_as,
        neighbors=options.neighbors,
        by_family=_CHANNELS,
        # A kernel may have no IPv6: it is not asked for it unless somebody would hear of it.
        channels=[_CHANNELS[family] for family in sorted(options.families | {4})],
    )
