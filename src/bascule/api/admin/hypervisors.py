"""/admin/v1/hypervisors: the hosts that carry instances."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.model.errors import InUse
from bascule.model.nodes import Agent, Hypervisor
from bascule.orchestration.queue import Priority
from bascule.store import changes, hypervisors, instances, load_balancers
from bascule.wire.admin_v1 import HypervisorCreate, HypervisorsView, HypervisorUpdate, HypervisorView

router = APIRouter(prefix="/admin/v1/hypervisors", tags=["operators: hypervisors"])


@router.get("")
def list_hypervisors(context: Ctx) -> HypervisorsView:
    """Every hypervisor, by name."""
    with context.database.read() as connection:
        return HypervisorsView(hypervisors=[_view(one) for one in hypervisors.list_all(connection)])


@router.post("", status_code=201)
def create_hypervisor(context: Ctx, body: HypervisorCreate) -> HypervisorView:
    """Register a hypervisor, so that instances on it can be registered."""
    hypervisor = Hypervisor(id=uuid4(), name=body.name, agent=Agent(url=body.agent_url, token=body.agent_token))
    with context.database.write() as connection:
        hypervisors.insert(connection, hypervisor)
    return _view(hypervisor)


@router.get("/{id}")
def get_hypervisor(context: Ctx, id: UUID) -> HypervisorView:  # noqa: A002
    """One hypervisor."""
    with context.database.read() as connection:
        return _view(hypervisors.get(connection, id))


@router.put("/{id}")
def update_hypervisor(context: Ctx, id: UUID, body: HypervisorUpdate) -> HypervisorView:  # noqa: A002
    """Change where its agent answers, its token or its name."""
    with context.database.write() as connection:
        present = hypervisors.lock_for_change(connection, id)
        agent = Agent(url=body.agent_url or present.agent.url, token=body.agent_token or present.agent.token)
        hypervisor = replace(present, name=body.name or present.name, agent=agent)
        hypervisors.update(connection, hypervisor)
        everything = load_balancers.list_ids(connection)
        reason = f"hypervisor {hypervisor.name} was changed"
        changes.request(connection, everything, priority=Priority.OPERATOR, reason=reason, now=context.clock.now())
    return _view(hypervisor)


@router.delete("/{id}", status_code=204)
def delete_hypervisor(context: Ctx, id: UUID) -> None:  # noqa: A002
    """Forget a hypervisor. Refused while it carries instances."""
    with context.database.write() as connection:
        hypervisor = hypervisors.lock_for_change(connection, id)
        carried = [instance.name for instance in instances.on_hypervisor(connection, id)]
        if carried:
            raise InUse(f"Hypervisor {hypervisor.name} carries {', '.join(carried)}: move or delete these first.")
        hypervisors.delete(connection, id)


def _view(hypervisor: Hypervisor) -> HypervisorView:
    return HypervisorView(id=hypervisor.id, name=hypervisor.name, agent_url=hypervisor.agent.url)
