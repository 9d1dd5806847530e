"""From a health check's body to the noun: defaults, and the rules that join several fields."""

from __future__ import annotations

from dataclasses import replace

from bascule.model.errors import InvalidInput
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.wire.public_v2 import HealthCheckBody


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


def _without_leftovers(present: HealthCheck, given: dict[str, object]) -> HealthCheck:
    """Forget what the new mode has no use for, so that changing the mode alone is enough."""
    mode = given.get("mode", present.mode)
    if mode is HealthCheckMode.TCP:
        return replace(present, uri=None, tls_sni=None)
    return present if mode is HealthCheckMode.HTTPS else replace(present, tls_sni=None)


def _checked(check: HealthCheck) -> HealthCheck:
    if check.timeout > check.interval:
        raise _invalid("timeout", f"must not exceed healthcheck.interval ({check.interval} s)")
    if check.mode is HealthCheckMode.TCP and check.uri is not None:
        raise _invalid("uri", "is for the modes http and https: leave it out or change healthcheck.mode")
    if check.mode is not HealthCheckMode.TCP and check.uri is None:
        raise _invalid("uri", f"is missing: mode {check.mode} needs a path, as in '/status'")
    if check.mode is not HealthCheckMode.HTTPS and check.tls_sni is not None:
        raise _invalid("tls-sni", "is for mode https: leave it out or change healthcheck.mode")
    return check


def _invalid(name: str, rule: str) -> InvalidInput:
    return InvalidInput(f"healthcheck.{name} {rule}.", field=f"healthcheck.{name}")
