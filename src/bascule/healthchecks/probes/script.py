"""What does the operator's script say of the instance?"""

from __future__ import annotations

from bascule.healthchecks.interface import ProbeResult
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.addresses import IPAddress
from bascule.model.errors import BasculeError
from bascule.model.health_checks import HealthCheck

WEIGHT_MAX = 100


class ScriptProbe:
    """keepalived's MISC_CHECK: the script is given the instance's address and the check's port."""

    def __init__(self, scripts: ScriptFolder) -> None:
        self._scripts = scripts

    async def check(self, address: IPAddress, health_check: HealthCheck) -> ProbeResult:
        """Healthy when it ends with status 0.

        With `script_weight`, as with keepalived's `misc_dynamic`, 2 to 255 are healthy too, and the instance's weight
        is the status less 2 (at most our 100) instead of the one it was given.
        """
        try:
            status = await self._scripts.run(health_check.script or "", (str(address), str(health_check.port)))
        except BasculeError as error:
            return ProbeResult(False, error.sentence)
        words = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
        weighed = health_check.script_weight and status >= 2
        return ProbeResult(status == 0 or weighed, words, min(status - 2, WEIGHT_MAX) if weighed else None)
