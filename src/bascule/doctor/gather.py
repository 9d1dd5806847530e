"""Reads the machine. What is probed is probed in a network namespace that nobody else sees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule import native
from bascule.doctor import sysctl_files
from bascule.doctor.facts import Choice, Facts, Presence, SystemFacts
from bascule.doctor.gather_network import gather_network
from bascule.forwarding.netfilter.legacy.kernel import LegacyTable
from bascule.forwarding.netfilter.render import table as nat_table
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system import libbpf
from bascule.system.commands import run
from bascule.system.namespaces import call_apart

_OBJECTS = ("xdp_balancer.bpf.o", "tc_hypervisor.bpf.o", "tc_decapsulate.bpf.o", "libbascule.so")
_VERSION_FLAGS = {"bird": "--version", "keepalived": "--version", "nft": "--version"}
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_LOOPBACK, _CLSACT_PARENT = 1, 0xFFFFFFF1
_RULESETS = {
    "ip": nat_table(4, largest_segment=1420),
    "ip6": nat_table(6, largest_segment=1360),
    "inet": "table inet probe {\n chain input { type filter hook input priority filter; }\n}\n",
}


def gather(choice: Choice, towards: Iterable[IPAddress] = (), instances: Iterable[IPAddress] = ()) -> Facts:
    """Everything about this machine and the calling thread's network namespace. Raises SystemFailure without root."""
    if os.geteuid() != 0:
        raise SystemFailure("Only root sees what the doctor must see: run it with sudo.")
    return Facts(system=gather_system(), network=gather_network(choice, towards, instances))


def gather_system() -> SystemFacts:
    """What is the same in all of the machine's namespaces."""
    has_libbpf = libbpf.is_installed()
    return SystemFacts(
        kernel=os.uname().release,
        libbpf=has_libbpf,
        missing_objects=tuple(name for name in _OBJECTS if not (native.DIRECTORY / name).exists()),
        xdp_programs=has_libbpf and libbpf.has_program_type(libbpf.PROG_TYPE_XDP),
        tc_programs=has_libbpf and libbpf.has_program_type(libbpf.PROG_TYPE_SCHED_CLS),
        jit=_jit(),
        clsact=call_apart(_clsact),
        nft_families=frozenset(family for family in _RULESETS if call_apart(partial(_nft_takes, family))),
        iptables=_iptables(),
        modules={"ip_vs": _ip_vs(), "ipip": call_apart(_ipip)},
        versions={name: _version([name, flag]) for name, flag in _VERSION_FLAGS.items()},
        assignments=sysctl_files.read(),
        processes=frozenset(_processes()),
    )


def _jit() -> bool | None:
    try:
        return Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() != "0"
    except OSError:
        return None  # it is shown in the first network namespace only


def _clsact() -> bool:
    with IPRoute() as netlink:
        try:
            netlink.tc("add", "clsact", index=_LOOPBACK)
        except NetlinkError:
            return False
    return True


def _nft_takes(family: str) -> bool:
    try:
        run(["nft", "-f", "-"], stdin=_RULESETS[family])
    except SystemFailure:
        return False
    return True


def _iptables() -> bool:
    try:
        LegacyTable(4, largest_segment=1420).start()
    except SystemFailure:
        return False
    return True


def _ipip() -> Presence:
    if _loaded("ipip"):
        return Presence.READY
    if _loadable("ipip"):
        return Presence.LOADABLE
    with IPRoute() as netlink:
        try:
            netlink.link("add", ifname="probe", kind="ipip")
        except NetlinkError:
            return Presence.ABSENT
    return Presence.READY  # part of the kernel itself


def _ip_vs() -> Presence:
    if Path("/proc/net/ip_vs").exists() or _loaded("ip_vs"):
        return Presence.READY
    return Presence.LOADABLE if _loadable("ip_vs") else Presence.ABSENT


def _loaded(module: str) -> bool:
    return Path("/sys/module", module).exists()


def _loadable(module: str) -> bool:
    index = Path("/lib/modules", os.uname().release, "modules.dep")
    return index.exists() and f"/{module}.ko" in index.read_text()


def _version(command: list[str]) -> tuple[int, ...] | None:
    try:
        found = _VERSION.search(run([*command], merge_errors=True))
    except SystemFailure:
        return None
    return tuple(int(part) for part in found[0].split(".")) if found else None


def _processes() -> Iterable[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "comm").read_text().strip()
        except OSError:
            continue  # it ended
