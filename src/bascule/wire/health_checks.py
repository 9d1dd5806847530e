"""From a health check's body to the noun and back: defaults, and the rules of the noun."""

from __future__ import annotations

from dataclasses import asdict, replace

from bascule.model.errors import InvalidInput
from bascule.model.health_check_rules import DEFAULTS, MODES_OF, problem_of
from bascule.model.health_checks import HealthCheck
from bascule.wire.health_check_options import HealthCheckOptions
from bascule.wire.public_v2 import HealthCheckBody
from bascule.wire.public_v2_views import HealthCheckView

_OPTIONS = frozenset(HealthCheckOptions.model_fields)


def health_check_of(body: HealthCheckBody, present: HealthCheck | None = None) -> HealthCheck:
    """The health check the body describes, over the present one in an update.

    Raises InvalidInput that names the field.
    """
    given = {name: getattr(body, name) for name in body.model_fields_set}
    if present is None:
        for name in ("mode", "port"):
            if name not in given:
                raise InvalidInput(f"healthcheck.{name} is missing: add it.", field=f"healthcheck.{name}")
        return _checked(HealthCheck(**given))
    return _checked(replace(_without_leftovers(present, given), **given))


def without_options(check: HealthCheck) -> HealthCheck:
    """The check with our own fields back at their defaults. Raises InvalidInput when its mode needs one of them."""
    return _checked(replace(check, **{name: DEFAULTS[name] for name in _OPTIONS}))  # type: ignore[arg-type]


def view_of(check: HealthCheck) -> HealthCheckView:
    """The check as the public API shows it."""
    ordinary = {name for name in _OPTIONS if getattr(check, name) == DEFAULTS[name]}
    return HealthCheckView(**{name: value for name, value in asdict(check).items() if name not in ordinary})


def _without_leftovers(present: HealthCheck, given: dict[str, object]) -> HealthCheck:
    """Forget what the new mode has no use for, so that changing the mode alone is enough."""
    mode = given.get("mode", present.mode)
    useless = {name: DEFAULTS[name] for name, modes in MODES_OF.items() if mode not in modes}
    return replace(present, **useless)  # type: ignore[arg-type]


def _checked(check: HealthCheck) -> HealthCheck:
    problem = problem_of(check)
    if problem is not None:
        field = f"healthcheck.{problem[0].replace('_', '-')}"
        raise InvalidInput(f"{field} {problem[1]}.", field=field)
    return check
