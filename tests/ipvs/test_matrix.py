"""Every scheduler by every way to a backend in both families, with real TCP and UDP."""

from __future__ import annotations

import pytest

from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod
from tests.ipvs.bench import FAMILIES, service
from tests.ipvs.centre import CLIENTS, Centre, ask_again, backend

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("served")]
PORT = 81
# Who serves.
HOSTS = {
    ForwardingMethod.TUNNEL: ("one", "two"),
    ForwardingMethod.DIRECT: ("near",),
    ForwardingMethod.TRANSLATION: ("near",),
    ForwardingMethod.LOCAL: ("lb",),
}
# The families of the VIP and of the backend: IPVS joins two by tunnel alone.
WAYS = [(method, family, family) for method in ForwardingMethod for family in FAMILIES]
WAYS += [(ForwardingMethod.TUNNEL, 4, 6), (ForwardingMethod.TUNNEL, 6, 4)]


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize(("method", "outside", "inside"), WAYS, ids=[f"{way[0]}-{way[1]}-to-{way[2]}" for way in WAYS])
def test_a_backend_answers_and_sees_the_client(
    centre: Centre, method: ForwardingMethod, outside: int, inside: int, strategy: Strategy
) -> None:
    """TCP and UDP are answered by a backend that sees the client's own address and port; then all is quiet."""
    backends = [backend(host, method=method, family=inside) for host in HOSTS[method]]
    wanted = [
        service(*backends, port=PORT, protocol=protocol, strategy=strategy, family=outside) for protocol in Protocol
    ]
    centre.node.enforce(*wanted)

    def sees_the_client() -> bool:
        with centre.connect(PORT, family=outside) as connection:
            name, *seen = ask_again(connection)
            assert name in HOSTS[method]
            assert seen[0] == CLIENTS[outside]
            return seen[1] == str(connection.getsockname()[1])

    # A hypervisor's conntrack takes another port for one that an earlier test's flow to the same instance still has.
    assert sees_the_client() or sees_the_client()
    name, host, _ = centre.ask_by_datagram(PORT, outside)
    assert name in HOSTS[method]
    assert host == CLIENTS[outside]
    assert centre.node.enforce(*wanted) == ()
