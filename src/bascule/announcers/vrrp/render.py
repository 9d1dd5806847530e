"""keepalived's configuration for VRRP (keepalived.conf(5)): pure. Every text is of letters that mean nothing to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from bascule.model.addresses import IPAddress
from bascule.model.errors import InvalidInput

if TYPE_CHECKING:
    from bascule.announcers.vrrp.plan import Instance

NODES_MOST = 12  # so that each has a priority of its own
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_INTERFACE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_MAILBOX = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")
_MAIL_SERVER = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_ADVERT_MOST = 40_950  # ms: 12 bits of centiseconds (RFC 9568, section 5.2.7)
_TABLES = range(1000, 2**31 - 256)
_TTL = 255

_TEMPLATE = """\
# Written by the bascule LB agent, which writes it again when it is changed.
global_defs {
    vrrp_version 3
    vrrp_priority -20
    script_user root
    enable_script_security
    vrrp_garp_master_repeat {{ options.repeats }}
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh {{ options.refresh }}
    vrrp_garp_lower_prio_repeat {{ options.repeats }}
    vrrp_higher_prio_send_advert true
{% if options.mail_to %}
    notification_email {
{% for mailbox in options.mail_to %}
        {{ mailbox }}
{% endfor %}
    }
    notification_email_from {{ options.mail_from }}
    smtp_server {{ options.mail_server.replace(":", " ") }}
    smtp_connect_timeout 10
{% endif %}
}

# Fails once no agent has been there for a while. A machine that is slow to start it is not without one.
vrrp_script agent {
    script "{{ script }}"
    interval 1
    timeout 5
    fall 2
    rise 1
}
{% for each in instances %}

vrrp_instance {{ each.name }} {
    state BACKUP
    interface {{ options.interface }}
    virtual_router_id {{ each.router_id }}
    priority {{ each.priority }}
    advert_int {{ advert }}
{% if not options.preempt %}
    nopreempt
{% elif options.preempt_delay %}
    preempt_delay {{ options.preempt_delay }}
{% endif %}
    unicast_src_ip {{ each.source }}
    unicast_ttl 255
    check_unicast_src
    unicast_fault_no_peer
    unicast_peer {
{% for peer in each.peers %}
        {{ peer }} min_ttl {{ least_ttl }}
{% endfor %}
    }
    track_script {
        agent
    }
    virtual_ipaddress {
        {{ each.address }}/{{ each.address.max_prefixlen }} dev {{ options.interface }}
    }
{% if each.gateway %}
    virtual_routes {
        default via {{ each.gateway }} dev {{ options.interface }} table {{ options.table + each.router_id }}
    }
    virtual_rules {
        from {{ each.address }}/{{ each.address.max_prefixlen }} lookup {{ options.table + each.router_id }} priority {{ options.rule_priority }}
    }
{% endif %}
{% if options.notify %}
    notify "{{ options.notify }}"
{% endif %}
{% if options.mail_to %}
    smtp_alert true
{% endif %}
}
{% endfor %}
"""  # noqa: E501  a line of keepalived's


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpOptions:
    """All that shapes the configuration. Raises InvalidInput when a value is out of range.

    `nodes` are the addresses of every node that may have the VIPs, one of a family each. `ids` are the first and the
    last VRID. `advert_ms` is milliseconds between adverts, `preempt_delay` seconds, `refresh` seconds between two
    gratuitous announcements of a master, `repeats` how many at once. `hops` is how many links lie between two nodes.
    The replies of an address go by its gateway, if there is one of its family, in table number `table` plus its VRID.
    """

    interface: str
    nodes: tuple[IPAddress, ...]
    ids: tuple[int, int] = (1, 255)
    advert_ms: int = 200
    preempt: bool = True
    preempt_delay: int = 0
    hops: int = 1
    gateways: tuple[IPAddress, ...] = ()
    table: int = 7100
    rule_priority: int = 7900
    repeats: int = 3
    refresh: int = 60
    notify: Path | None = None
    mail_to: tuple[str, ...] = ()
    mail_from: str = "bascule@localhost"
    mail_server: str = "127.0.0.1:25"

    def __post_init__(self) -> None:
        first, last = self.ids
        families = [gateway.version for gateway in self.gateways]
        per_family = [sum(each.version == family for each in self.nodes) for family in (4, 6)]
        checks = (
            (_INTERFACE.fullmatch(self.interface), "INTERFACE", "is no name of an interface"),
            (self.nodes and len(set(self.nodes)) == len(self.nodes), "NODES", "names no node, or one twice"),
            (max(per_family) <= NODES_MOST, "NODES", f"names more than {NODES_MOST} nodes of a family"),
            (not any(_on_link_only(each) for each in (*self.nodes, *self.gateways)), "NODES", "wants global addresses"),
            (1 <= first <= last <= 255, "IDS", "wants a first and a last router id of 1 to 255, such as 1-255"),
            (10 <= self.advert_ms <= _ADVERT_MOST and not self.advert_ms % 10, "ADVERT_MS", "wants 10, 20 … 40950"),
            (0 <= self.preempt_delay <= 1000, "PREEMPT_DELAY", "wants 0 to 1000 seconds"),
            (1 <= self.hops < _TTL, "HOPS", "wants 1 to 254"),
            (len(set(families)) == len(families), "GATEWAYS", "wants one gateway of a family"),
            (self.table in _TABLES, "TABLE", "wants a number of 1000 to 2147483391"),
            (1 <= self.rule_priority <= 32_765, "RULE_PRIORITY", "wants a number of 1 to 32765"),
            (1 <= self.repeats <= 100, "REPEATS", "wants 1 to 100"),
            (0 <= self.refresh <= 86_400, "REFRESH", "wants 0 to 86400 seconds"),
            (self.notify is None or _PLAIN_PATH.fullmatch(str(self.notify)), "NOTIFY", "wants an absolute, plain path"),
            (all(map(_MAILBOX.fullmatch, (*self.mail_to, self.mail_from))), "MAIL_TO", "wants plain addresses of mail"),
            (_MAIL_SERVER.fullmatch(self.mail_server), "MAIL_SERVER", "wants host:port"),
        )
        for holds, name, words in checks:
            if not holds:
                raise InvalidInput(f"BASCULE_VRRP_{name} {words}.", field=f"BASCULE_VRRP_{name}")


def _on_link_only(address: IPAddress) -> bool:
    """A link's own addresses need the link's name."""
    return address.version == 6 and address.is_link_local


def ids_of(text: str) -> tuple[int, int]:
    """Read "1-255". Raises InvalidInput."""
    found = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})", text)
    if found is None:
        raise InvalidInput(f"{text!r} is no range of router ids: write it as 1-255.", field="BASCULE_VRRP_IDS")
    return int(found[1]), int(found[2])


def render(options: VrrpOptions, instances: Iterable[Instance], script: Path) -> str:
    """The whole configuration file. `script` says by its status whether an agent is there.

    Raises InvalidInput when its path needs quoting.
    """
    if not _PLAIN_PATH.fullmatch(str(script)):
        raise InvalidInput(f"{script} cannot be written into keepalived's configuration: use letters, digits and dots.")
    # The output is not HTML: escaping would corrupt it, and the options hold nothing that needs it.
    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)  # noqa: S701
    return environment.from_string(_TEMPLATE).render(
        options=options,
        instances=tuple(instances),
        script=script,
        advert=f"{options.advert_ms / 1000:.2f}",
        least_ttl=_TTL + 1 - options.hops,
    )


_CONFIGURED = re.compile(r"^    virtual_ipaddress \{\n {8}([0-9a-f.:]+)/", re.MULTILINE)


def addresses_in(text: str) -> tuple[str, ...]:
    """The addresses of a configuration that `render` made, whoever had it made."""
    return tuple(_CONFIGURED.findall(text))
