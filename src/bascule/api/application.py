"""The application: every route of both APIs behind the gate."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from bascule.api import elastic_ips, health, instance_pools, load_balancers, operations, problems, services, zones
from bascule.api.admin import (
    address_pools as admin_address_pools,
)
from bascule.api.admin import (
    api_keys as admin_api_keys,
)
from bascule.api.admin import (
    drains as admin_drains,
)
from bascule.api.admin import (
    drift as admin_drift,
)
from bascule.api.admin import (
    hypervisors as admin_hypervisors,
)
from bascule.api.admin import (
    instance_pools as admin_instance_pools,
)
from bascule.api.admin import (
    instances as admin_instances,
)
from bascule.api.admin import (
    jobs as admin_jobs,
)
from bascule.api.admin import (
    lb_nodes as admin_lb_nodes,
)
from bascule.api.admin import (
    load_balancers as admin_load_balancers,
)
from bascule.api.admin import (
    machine_events as admin_machine_events,
)
from bascule.api.admin import (
    plans as admin_plans,
)
from bascule.api.admin import (
    states as admin_states,
)
from bascule.api.context import Context
from bascule.api.gate import Gate

_PUBLIC = (load_balancers, services, instance_pools, elastic_ips, operations, zones, health)
_ADMIN = (
    admin_drains,  # before the plain /{id} of others, which would match :drain too
    admin_lb_nodes,
    admin_hypervisors,
    admin_address_pools,
    admin_instance_pools,
    admin_instances,
    admin_api_keys,
    admin_load_balancers,
    admin_states,
    admin_jobs,
    admin_drift,
    admin_machine_events,
    admin_plans,
)


_ABOUT = """A load balancer as a service. `/v2` is for users, who sign with an API key (EXO2-HMAC-SHA256, as Exoscale's
clients do); `/admin/v1` is for operators, who send the admin token (`Authorization: Bearer`)."""


def create_app(context: Context) -> FastAPI:
    """Both APIs over one context. The document is at /openapi.json, readable at /docs."""
    # Machines that people own often see no public network: the pages of /docs come from here, not from a CDN.
    app = FastAPIOffline(title="bascule", description=_ABOUT, version="2", redoc_url=None, redirect_slashes=False)
    app.state.context = context
    for module in (*_PUBLIC, *_ADMIN):
        app.include_router(module.router)
    app.add_middleware(Gate)
    problems.install(app)
    return app
