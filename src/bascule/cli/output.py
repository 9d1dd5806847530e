"""Prints for people (tables) and for programs (JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 160  # columns, when a pipe or a file reads the table


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", envvar="BASCULE_OUTPUT", help="A table for people, JSON for programs.")
]
WaitOption = Annotated[
    float,
    typer.Option("--wait", min=0, help="Seconds to wait for the change to come true; 0 returns at once.", metavar="S"),
]


def console() -> Console:
    """Standard output."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH_WITHOUT_TERMINAL)


def show_list(output: Output, items: Sequence[BaseModel], columns: Mapping[str, str], *, empty: str) -> None:
    """Print items: `columns` maps headings to fields. `empty` tells what to do when there are none."""
    if output is Output.JSON:
        print_json([json_of(item) for item in items])
    elif not items:
        Console(stderr=True).print(Text(empty))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in columns:
            table.add_column(heading, overflow="fold")
        for item in items:
            table.add_row(*(Text(_cell(getattr(item, name))) for name in columns.values()))
        console().print(table)


def show_one(output: Output, item: BaseModel, *, without: Sequence[str] = ()) -> None:
    """Print every field of one item; lists get a line for each entry. JSON is always whole."""
    if output is Output.JSON:
        print_json(json_of(item))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name in type(item).model_fields:
        if name in without:
            continue
        table.add_row(name.replace("_", "-"), Text(_cell(getattr(item, name))))
    console().print(table)


def print_json(value: object) -> None:
    """Print JSON, with nothing a terminal would add."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_line(item: BaseModel, *, without: Set[str] = frozenset()) -> None:
    """Print one item as one line of JSON, at once: for programs that read while we write."""
    sys.stdout.write(item.model_dump_json(by_alias=True, exclude=set(without)) + "\n")
    sys.stdout.flush()


def say(sentence: str) -> None:
    """Tell the person at the terminal; programs read standard output, which stays clean."""
    Console(stderr=True).print(Text(sentence))


def json_of(item: BaseModel) -> dict[str, object]:
    """An item as the API says it."""
    return item.model_dump(mode="json", by_alias=True)


def _cell(value: object, separator: str = "\n") -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, BaseModel):
        return _fields(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return separator.join(_cell(one) for one in value) or "-"
    return str(value)


def _fields(value: BaseModel) -> str:
    """In its own words where it has some, else field by field."""
    if type(value).__str__ is not BaseModel.__str__:
        return str(value)
    fields = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return " ".join(f"{name}={_cell(one, ',')}" for name, one in fields.items() if one not in ("", []))
