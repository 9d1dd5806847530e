"""Steps that wait."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.balancing.hands import Hands
from bascule.model.errors import Unavailable

ROUTERS_CONVERGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LetRoutersConverge:
    """After a withdrawal, packets already on their way still arrive: serve them before going."""

    seconds: float = ROUTERS_CONVERGE_SECONDS

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"let routers converge for {self.seconds:g} s"

    async def perform(self, hands: Hands) -> None:
        """Wait."""
        await hands.clock.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class AwaitSilentNodes:
    """Go no further while a node that may still hold the address is silent; the run is tried again later."""

    names: str

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"wait for {self.names}"

    async def perform(self, hands: Hands) -> None:  # noqa: ARG002  the interface of steps
        """Fail with the way out."""
        raise Unavailable(
            f"{self.names} does not answer and may still hold the address: start its agent, or, when the machine is"
            " switched off for good, disable the node and delete it as dead (bascule node delete NAME --dead)."
        )
