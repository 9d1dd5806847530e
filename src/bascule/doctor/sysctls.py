"""Checks of the kernel's switches: forwarding, rp_filter, ARP, and who else sets them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bascule.doctor.facts import Assignment, Choice, Facts, Interface, NetworkFacts, Role
from bascule.doctor.findings import Finding, ok, problem, warning

_STRICT = 1
_CROWDED = 0.8
# A strict filter on a card that is no uplink is usual, and right where no instance is behind it.
_KINDS_OF_INSTANCES = {"bridge", "macvtap", "openvswitch", "tun", "veth"}
# Programs that set sysctls we care about, what they do to them, and how to keep them from it.
_OWNERS = {
    "kube-proxy": (
        "kube-proxy sets arp_ignore and arp_announce in its IPVS mode, and ip_forward",
        "kubectl -n kube-system edit configmap kube-proxy  # ipvs: strictARP: true",
    ),
    "calico-node": (
        "Calico sets rp_filter on its interfaces, and refuses to start while net.ipv4.conf.all.rp_filter is 2",
        "kubectl -n kube-system set env daemonset/calico-node FELIX_IGNORELOOSERPF=true",
    ),
    "NetworkManager": (
        "NetworkManager applies its own sysctls to interfaces that it manages",
        "nmcli device status",
    ),
}


def check_sysctls(facts: Facts, choice: Choice) -> Iterator[Finding]:
    """Every switch that the roles need, and everybody who may turn it back."""
    network = facts.network
    yield from _forwarding(network, choice)
    if choice.forwards_ipv6:
        yield _forwarding6(network)
    if Role.HYPERVISOR in choice.roles:
        yield from _reverse_path_of_instances(network, choice)
        yield from _conntrack(network, choice)
    yield from _reverse_path_outside(network, choice)
    if Role.LB_NODE in choice.roles:
        yield from _arp(network, choice)
    yield from _conflicts(facts, choice)


def effective(network: NetworkFacts, interface: Interface, key: str) -> int:
    """What counts on an interface: the greater of its own value and that of `all` (ip-sysctl.rst)."""
    return max(network.sysctls.get(f"net.ipv4.conf.all.{key}", 0), interface.sysctls.get(key, 0))


def assign(interface: str, key: str, value: int) -> str:
    """The command that sets a switch; an interface's name with a dot needs slashes."""
    if "." in interface:
        return f"sysctl -w net/ipv4/conf/{interface}/{key}={value}"
    return f"sysctl -w net.ipv4.conf.{interface}.{key}={value}"


def _forwarding(network: NetworkFacts, choice: Choice) -> Iterator[Finding]:
    name = "net.ipv4.ip_forward"
    if network.sysctls.get(name):
        yield ok("ip_forward", "This machine forwards packets.")
    elif Role.HYPERVISOR in choice.roles:
        yield problem("ip_forward", "This machine does not forward packets to its instances.", f"sysctl -w {name}=1")
    elif choice.dataplane != "xdp":
        yield warning("ip_forward", "IPVS forwards by NAT only on a machine that forwards.", f"sysctl -w {name}=1")
    else:
        yield ok("ip_forward", "This machine does not forward packets; XDP does not need it.")


def _forwarding6(network: NetworkFacts) -> Finding:
    subject, name = "ipv6 forwarding", "net.ipv6.conf.all.forwarding"
    if network.sysctls.get(name):
        return ok(subject, "This machine forwards IPv6 packets.")
    return problem(subject, "This machine does not forward IPv6 packets to its instances.", f"sysctl -w {name}=1")


def _reverse_path_of_instances(network: NetworkFacts, choice: Choice) -> Iterator[Finding]:
    if choice.forwarding == "netfilter":
        return  # replies are translated after that filter has seen them
    inside = [one for one in network.interfaces.values() if _may_lead_to_instances(one, choice)]
    strict = [one.name for one in inside if effective(network, one, "rp_filter") == _STRICT]
    for name in strict:
        likely = network.interfaces[name].kind in _KINDS_OF_INSTANCES
        yield (problem if likely else warning)(
            f"rp_filter {name}",
            f"Strict rp_filter on {name} drops the replies of instances behind it, which leave with the VIP as source.",
            assign(name, "rp_filter", 2),
        )
    if network.sysctls.get("net.ipv4.conf.default.rp_filter") == _STRICT:
        yield warning(
            "rp_filter default",
            "Interfaces of new instances will begin with strict rp_filter, which drops their replies.",
            assign("default", "rp_filter", 2),
        )
    elif not strict:
        yield ok("rp_filter", "No strict rp_filter on the way of instances' replies.")


def _conntrack(network: NetworkFacts, choice: Choice) -> Iterator[Finding]:
    used, room = (network.sysctls.get(f"net.netfilter.nf_conntrack_{word}", 0) for word in ("count", "max"))
    if choice.forwarding != "netfilter" or not room:
        return
    sentence = f"Conntrack holds {used} of at most {room} connections"
    if used > room * _CROWDED:
        fix = f"sysctl -w net.netfilter.nf_conntrack_max={2 * room}"
        yield warning("conntrack", f"{sentence}: new ones are dropped when it is full.", fix)
    else:
        yield ok("conntrack", f"{sentence}.")


def _may_lead_to_instances(interface: Interface, choice: Choice) -> bool:
    return interface.ethernet and interface.up and interface.name not in choice.outside


def _reverse_path_outside(network: NetworkFacts, choice: Choice) -> Iterator[Finding]:
    for name in choice.outside:
        interface = network.interfaces.get(name)
        if interface is not None and effective(network, interface, "rp_filter") == _STRICT:
            yield warning(
                f"rp_filter {name}",
                f"Strict rp_filter on {name} drops packets whose sender is routed through another interface.",
                assign(name, "rp_filter", 2),
            )


def _arp(network: NetworkFacts, choice: Choice) -> Iterator[Finding]:
    """What others call strictARP: a VIP on `lo` must not be claimed on a wire."""
    wanted = {"arp_ignore": 1, "arp_announce": 2}
    for name in choice.interfaces:
        interface = network.interfaces.get(name)
        if interface is None:
            continue
        loose = {key: value for key, value in wanted.items() if effective(network, interface, key) < value}
        if loose:
            yield warning(
                f"arp {name}",
                f"{name} answers ARP for every VIP this machine holds: harmless while VIPs are routed to it, wrong when"
                " they belong to a subnet of that wire.",
                " && ".join(assign(name, key, value) for key, value in loose.items()),
            )
        else:
            yield ok(f"arp {name}", f"{name} answers ARP for its own addresses only.")


def _conflicts(facts: Facts, choice: Choice) -> Iterator[Finding]:
    harmful = _harmful_values(choice)
    for line in facts.system.assignments:
        if line.value in harmful.get(_generic(line, choice), ()):
            yield warning(
                f"owner of {line.key}",
                f"{line.file} sets {line.key}={line.value}: whatever is set by hand is undone at the next boot.",
                f"sed -i '/{line.key.replace('/', '.')}/d' {line.file}",
            )
    for process in sorted(facts.system.processes & _OWNERS.keys()):
        sentence, fix = _OWNERS[process]
        yield warning(f"owner {process}", f"{sentence}: see that it agrees with this machine's role.", fix)


def _harmful_values(choice: Choice) -> Mapping[str, tuple[str, ...]]:
    if Role.HYPERVISOR not in choice.roles:
        return {"rp_filter outside": ("1",)}
    rp_filter = {} if choice.forwarding == "netfilter" else {"rp_filter": ("1",)}
    forwarding6 = {"net.ipv6.conf.all.forwarding": ("0",)} if choice.forwards_ipv6 else {}
    return {"net.ipv4.ip_forward": ("0",), "rp_filter outside": ("1",), **rp_filter, **forwarding6}


def _generic(line: Assignment, choice: Choice) -> str:
    """Keys of interfaces count alike, apart from those of the named ones."""
    parts = line.key.split(".")
    if line.key.startswith("net.ipv4.conf.") and parts[-1] == "rp_filter":
        outside = ".".join(parts[3:-1]).replace("/", ".") in choice.outside
        return "rp_filter outside" if outside else "rp_filter"
    return line.key
