"""Jobs and the queue as operators read them: the orchestration library's overview of our tables."""

from __future__ import annotations

from bascule.orchestration.overview import Fields as Fields  # noqa: PLC0414  what these answer
from bascule.orchestration.overview import Overview
from bascule.store import tables

_OVERVIEW = Overview(tables.orchestration, names=tables.load_balancers)

latest, get, steps = _OVERVIEW.latest, _OVERVIEW.get, _OVERVIEW.steps
cancel, queue, touched_since = _OVERVIEW.cancel, _OVERVIEW.queue, _OVERVIEW.touched_since
