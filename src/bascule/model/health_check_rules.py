"""What a health check may say: one set of rules for the API's edge and for the agents' (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import lru_cache

import dns.exception
import dns.name
import dns.rdatatype
import re2

from bascule.model.health_checks import HealthCheck, HealthCheckMode

PORT_MAX = 65535
QUORUM_MAX = 1_000_000  # 10,000 instances of weight 100
TEXT_MAX = 255  # characters
PAYLOAD_MAX = 1024  # hexadecimal digits
PATTERN_MEMORY = 1 << 20  # bytes that a compiled pattern may take
HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I
)
_SCRIPT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}")
_OCTETS = re.compile(r"([0-9a-fA-F]{2})*")
_CODES = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*")

# Bounds of numbers, all included.
_BOUNDS = {
    "port": (1, PORT_MAX),
    "interval": (1, 300),
    "timeout": (1, 60),
    "retries": (0, 20),
    "retry_interval": (1, 300),
    "rise": (1, 20),
    "warm_up": (0, 300),
    "quorum": (1, QUORUM_MAX),
    "hysteresis": (0, QUORUM_MAX),
}
_WEB = frozenset({HealthCheckMode.HTTP, HealthCheckMode.HTTPS})
# Which modes have a use for a field; fields that are not here are of use to all.
MODES_OF = {
    "uri": _WEB,
    "tls_sni": frozenset({HealthCheckMode.HTTPS}),
    "status_codes": _WEB,
    "body_pattern": _WEB,
    "body_digest": _WEB,
    "host": _WEB,
    "tls_verify": frozenset({HealthCheckMode.HTTPS}),
    "smtp_helo": frozenset({HealthCheckMode.SMTP}),
    "dns_name": frozenset({HealthCheckMode.DNS}),
    "dns_type": frozenset({HealthCheckMode.DNS}),
    "dns_answer": frozenset({HealthCheckMode.DNS}),
    "udp_payload": frozenset({HealthCheckMode.UDP}),
    "udp_reply": frozenset({HealthCheckMode.UDP}),
    "script": frozenset({HealthCheckMode.SCRIPT}),
    "script_weight": frozenset({HealthCheckMode.SCRIPT}),
}
DEFAULTS = {field.name: field.default for field in fields(HealthCheck) if field.name not in {"mode", "port"}}


def status_ranges(text: str) -> tuple[range, ...]:
    """The expected statuses of a text such as "200-299,404". Raises ValueError with a sentence's end."""
    if not _CODES.fullmatch(text):
        raise ValueError("takes statuses and ranges of them, as in '200-299,404'")
    bounds = [[int(number) for number in part.split("-")] for part in text.split(",")]
    found = tuple(range(part[0], part[-1] + 1) for part in bounds)
    if not all(found):
        raise ValueError("has a range that ends before it begins: turn it round")
    return found


@lru_cache(maxsize=1024)
def body_pattern(text: str) -> re2.Pattern:
    """The compiled pattern. Raises ValueError with a sentence's end.

    RE2 searches in time linear in the body, whatever the pattern: no look-around and no back references.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is refused"
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(
            f"is no expression that RE2 takes ({reason}): see github.com/google/re2/wiki/Syntax"
        ) from error


def _visible(text: str) -> None:
    if any(not "!" <= character <= "~" for character in text):
        raise ValueError("takes visible ASCII characters only")


def _uri(text: str) -> None:
    _visible(text)
    if not text.startswith("/"):
        raise ValueError("is a path that starts with '/', as in '/status'")


def _pattern(text: str) -> None:
    # In a printed configuration a pattern is one line.
    if not text or not text.isprintable():
        raise ValueError("is empty or has characters that cannot be printed: write those as in '\\n'")
    body_pattern(text)


def _host(text: str) -> None:
    if not HOST_NAME.fullmatch(text):
        raise ValueError("is a host name, as in 'www.example.net'")


def _digest(text: str) -> None:
    if not _DIGEST.fullmatch(text):
        raise ValueError("is an MD5 of 32 or a SHA-256 of 64 hexadecimal digits")


def _octets(text: str) -> None:
    if not _OCTETS.fullmatch(text):
        raise ValueError("is an even number of hexadecimal digits, as in '50494e47'")


def _payload(text: str) -> None:
    _octets(text)
    if not text:
        raise ValueError("is empty: leave it out for one that is ours")


def _dns_name(text: str) -> None:
    _visible(text)
    try:
        dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise ValueError(f"is no domain name ({error}): write it as in 'example.net'") from error


def _dns_type(text: str) -> None:
    try:
        kind = dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError("is no type of DNS record: use 'A', 'SOA' or another") from error
    if dns.rdatatype.is_metatype(kind):
        raise ValueError("is no type that a health check can ask for: use 'A', 'SOA' or another")


def is_script_name(text: str) -> bool:
    """Whether it names a script in the operator's folder, and cannot be a path."""
    return _SCRIPT.fullmatch(text) is not None


def _script(text: str) -> None:
    if not is_script_name(text):
        raise ValueError(
            "is the name of a script that the operator installed: at most 64 letters, digits, '.', '_', '-',"
            " the first one no '.'"
        )


_TEXTS: dict[str, Callable[[str], object]] = {
    "uri": _uri,
    "tls_sni": _host,
    "status_codes": status_ranges,
    "body_pattern": _pattern,
    "body_digest": _digest,
    "host": _host,
    "smtp_helo": _host,
    "dns_name": _dns_name,
    "dns_type": _dns_type,
    "udp_payload": _payload,
    "udp_reply": _octets,
    "script": _script,
}


def problem_of(check: HealthCheck) -> tuple[str, str] | None:
    """The first field that is wrong and what is wrong with it, as the end of a sentence; None when all is well."""
    return next(_problems(check), None)


def _problems(check: HealthCheck) -> Iterator[tuple[str, str]]:
    for name, (least, most) in _BOUNDS.items():
        number = getattr(check, name)
        if number is not None and not least <= number <= most:
            yield name, f"is {least} to {most}"
    if check.timeout > check.interval:
        yield "timeout", f"must not exceed healthcheck.interval ({check.interval} s)"
    yield from _misplaced(check)
    if check.mode in _WEB and check.uri is None:
        yield "uri", f"is missing: mode {check.mode} needs a path, as in '/status'"
    if check.mode is HealthCheckMode.SCRIPT and check.script is None:
        yield "script", "is missing: name a script that the operator installed"
    for name, rule in _TEXTS.items():
        yield from _broken(name, getattr(check, name), rule)
    # keepalived refuses this too: the service would be up without any instance.
    if check.hysteresis >= check.quorum:
        yield "hysteresis", f"must be below healthcheck.quorum ({check.quorum})"


def _misplaced(check: HealthCheck) -> Iterator[tuple[str, str]]:
    for name, modes in MODES_OF.items():
        if check.mode not in modes and getattr(check, name) != DEFAULTS[name]:
            allowed = " and ".join(sorted(modes))
            word = "modes" if len(modes) > 1 else "mode"
            yield name, f"is for {word} {allowed}: leave it out or change healthcheck.mode"


def _broken(name: str, text: str | None, rule: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    if text is None:
        return
    most = PAYLOAD_MAX if name.startswith("udp_") else TEXT_MAX
    if len(text) > most:
        yield name, f"has at most {most} characters"
        return
    try:
        rule(text)
    except ValueError as error:
        yield name, str(error)
