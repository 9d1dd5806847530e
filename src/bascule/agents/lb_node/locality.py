"""Which backends are this very node: two servers may be each other's LB nodes and instances. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from bascule.agents.lb_node.serving import Desired
from bascule.model.addresses import IPAddress
from bascule.model.data_planes import Capabilities
from bascule.model.virtual_services import ForwardingMethod, VirtualBackend, VirtualService

_NEEDED = {ForwardingMethod.LOCAL, ForwardingMethod.TRANSLATION}


def with_local(desired: Desired, own: Set[IPAddress], capabilities: Capabilities) -> Desired:
    """`desired` with method `local` for the backends at one of the node's `own` addresses.

    Where the target port is another than the service's, the method is `translation`: no hypervisor translates what
    never leaves the node. VIPs are not own addresses, wherever they are bound.
    """
    own = own - desired.addresses
    if not own or not capabilities.methods >= _NEEDED:
        return desired
    return replace(desired, services=tuple(_with_local(each, own) for each in desired.services))


def _with_local(service: VirtualService, own: Set[IPAddress]) -> VirtualService:
    if not any(backend.address in own for backend in service.backends):
        return service
    backends = tuple(_here(backend, service) if backend.address in own else backend for backend in service.backends)
    return replace(service, backends=backends)


def _here(backend: VirtualBackend, service: VirtualService) -> VirtualBackend:
    """Who asked for translation keeps it: processes then need not listen on the VIP."""
    translated = backend.method is ForwardingMethod.TRANSLATION or backend.target_port != service.key.port
    return replace(backend, method=ForwardingMethod.TRANSLATION if translated else ForwardingMethod.LOCAL)
