"""The two clients, each a bundle of nouns over one connection pool."""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

from bascule.client.address_pools import AddressPools
from bascule.client.api_keys import ApiKeys
from bascule.client.drains import Drains
from bascule.client.drift import Drift
from bascule.client.elastic_ips import ElasticIPs
from bascule.client.hypervisors import Hypervisors
from bascule.client.instance_pools import AdminInstancePools, InstancePools
from bascule.client.jobs import Jobs
from bascule.client.lb_nodes import LBNodes
from bascule.client.load_balancers import AdminLoadBalancers, LoadBalancers
from bascule.client.machine_events import MachineEvents
from bascule.client.operations import Operations
from bascule.client.services import Services
from bascule.client.signing import SignedWithKey, SignedWithToken
from bascule.client.transport import TIMEOUT, Transport
from bascule.wire.public_v2_views import OperationView


class _Client:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._transport.close()


def _planner(url: str, token: str | None) -> Transport | None:
    return None if token is None else Transport(url, SignedWithToken(token))


class ApiClient(_Client):
    """What users can do. `url` is where the API answers, without /v2, as in "http://127.0.0.1:8080".

    With `planner`, an operators' token, nothing is changed: every change raises `Planned`.
    """

    def __init__(self, url: str, key: str, secret: str, *, planner: str | None = None) -> None:
        super().__init__(Transport(url, SignedWithKey(key, secret), planner=_planner(url, planner)))
        self.load_balancers = LoadBalancers(self._transport)
        self.services = Services(self._transport)
        self.instance_pools = InstancePools(self._transport)
        self.elastic_ips = ElasticIPs(self._transport)
        self.operations = Operations(self._transport)

    def wait(self, operation_id: UUID, timeout: float = 60.0) -> OperationView:
        """Wait for an operation, `timeout` seconds at most. Raises as `Operations.wait` does."""
        return self.operations.wait(operation_id, timeout)


class AdminClient(_Client):
    """What operators can do. `url` is where the API answers, without /admin/v1; `timeout` is in seconds.

    `planner` as above.
    """

    def __init__(self, url: str, token: str, *, timeout: float = TIMEOUT, planner: str | None = None) -> None:
        planned = _planner(url, planner)
        super().__init__(Transport(url, SignedWithToken(token), timeout=timeout, planner=planned))
        self.lb_nodes = LBNodes(self._transport)
        self.hypervisors = Hypervisors(self._transport)
        self.address_pools = AddressPools(self._transport)
        self.instance_pools = AdminInstancePools(self._transport)
        self.load_balancers = AdminLoadBalancers(self._transport)
        self.api_keys = ApiKeys(self._transport)
        self.jobs = Jobs(self._transport)
        self.drains = Drains(self._transport)
        self.drift = Drift(self._transport)
        self.machine_events = MachineEvents(self._transport)
