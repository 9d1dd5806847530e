"""Which backends are this very node: two servers may be each other's LB nodes and instances. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from bascule.agents.lb_node.serving import Desired
from bascule.model.addresses import IPAddress
from bascule.model.data_planes import Capabilities
from bascule.model.virtual_services import ForwardingMethod, VirtualBackend, VirtualService

# Translation reaches this node's processes as it reaches others, and leaves them free not to listen on the VIP.
_UNTRANSLATED = {ForwardingMethod.TUNNEL, ForwardingMethod.DIRECT}


def with_local(desired: Desired, own: Set[IPAddress], capabilities: Capabilities) -> tuple[Desired, tuple[str, ...]]:
    """`desired` with method `local` for the backends at one of the node's `own` addresses, and a sentence for each one
    left out: nobody translates its port. VIPs are not own addresses, wherever they are bound.
    """
    own = own - desired.addresses
    if ForwardingMethod.LOCAL not in capabilities.methods or not own:
        return desired, ()
    problems = tuple(
        f"{backend.address} is this node, where nobody translates port {service.key.port} to {backend.target_port}: it"
        f" is left out of {service.key}. Make the service's target port {service.key.port}, or its forwarding method"
        " translation."
        for service in desired.services
        for backend in service.backends
        if _is_here(backend, own) and backend.target_port != service.key.port
    )
    return replace(desired, services=tuple(_with_local(each, own) for each in desired.services)), problems


def _with_local(service: VirtualService, own: Set[IPAddress]) -> VirtualService:
    if not any(_is_here(backend, own) for backend in service.backends):
        return service
    backends = tuple(
        replace(backend, method=ForwardingMethod.LOCAL) if _is_here(backend, own) else backend
        for backend in service.backends
        if not _is_here(backend, own) or backend.target_port == service.key.port
    )
    return replace(service, backends=backends)


def _is_here(backend: VirtualBackend, own: Set[IPAddress]) -> bool:
    return backend.address in own and backend.method in _UNTRANSLATED
