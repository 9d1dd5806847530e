"""What a step was given and what it answered, as JSON for the record. Pure.

A field that `repr` leaves out (`field(repr=False)`) is a secret and stays out. Long lists are cut: the record is for
people, and an instance pool has a thousand members.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
ITEMS_SHOWN = 20


def printable(value: object) -> Json:
    """Dataclasses by their fields, collections by their members, anything else by its words."""
    if isinstance(value, Enum):
        return printable(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value):
        return {field.name: printable(getattr(value, field.name)) for field in fields(value) if field.repr}
    if isinstance(value, Mapping):
        return {str(name): printable(member) for name, member in value.items()}
    if isinstance(value, Collection) and not isinstance(value, bytes):
        return _list(value)
    return str(value)


def _list(values: Collection[object]) -> list[Json]:
    ordered = sorted(values, key=str) if isinstance(values, set | frozenset) else list(values)
    shown = [printable(one) for one in ordered[:ITEMS_SHOWN]]
    left_out = len(ordered) - len(shown)
    return [*shown, f"and {left_out} more"] if left_out else shown
