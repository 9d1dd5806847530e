"""Write the reference pages that are generated from the code: settings, command line, counters, errors.

`--check` writes nothing and fails when a page is out of date.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

import typer

from bascule.cli.on_this_machine import OnThisMachine
from bascule.forwarding.netfilter import render as nat
from bascule.model import errors
from bascule.programs import settings
from bascule.programs.command_line import command_line

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `make docs`: do not edit. -->\n\n"


def settings_page() -> str:
    """Every setting of every process."""
    parts = ["# Settings\n\nRead from the environment. Lists are separated by spaces or commas.\n"]
    for kind in (
        settings.ApiSettings,
        settings.OrchestratorSettings,
        settings.LBAgentSettings,
        settings.HypervisorAgentSettings,
    ):
        parts.append(f"\n## {(inspect.getdoc(kind) or '').splitlines()[0]}\n\n```text")
        parts.append(settings.describe(kind).split("\n", 1)[1])
        parts.append("```")
    return "\n".join(parts) + "\n"


def command_page() -> str:
    """Every command with its help."""
    parts = ["# Command line\n"]

    def describe(command: typer.core.TyperGroup | object, words: list[str]) -> None:
        context = typer.Context(command, info_name=" ".join(words))  # type: ignore[arg-type]
        if not isinstance(command, typer.core.TyperGroup):
            usage = command.get_usage(context).removeprefix("Usage: ")  # type: ignore[attr-defined]
            text = " ".join((command.help or "").split())  # type: ignore[attr-defined]
            parts.append(f"- `{' '.join(usage.split())}`: {text}")
            return
        parts.append(f"\n## {' '.join(words)}\n\n{' '.join((command.help or '').split())}\n")
        known = {
            name: each.real() if isinstance(each, OnThisMachine) else each for name, each in command.commands.items()
        }
        for name in sorted(known, key=lambda name: isinstance(known[name], typer.core.TyperGroup)):
            describe(known[name], [*words, name])

    describe(command_line(), ["bascule"])
    return "\n".join(parts) + "\n"


def counters_page() -> str:
    """The fates of packets, as the C headers name and explain them."""
    parts = ["# Counters\n\nWhat can happen to a packet, by name.\n"]
    for title, header in (
        ("XDP balancer", "counters.h"),
        ("Hypervisor with `ebpf`", "hypervisor_maps.h"),
        ("Hypervisor with `netfilter`, program", "decapsulate_maps.h"),
    ):
        parts.append(f"\n## {title} (`bpf/{header}`)\n\n| counter | what happened |\n| --- | --- |")
        text = (ROOT / "bpf" / header).read_text()
        body = re.search(r"enum (?:fate|counter) \{(.*?)\};", text, re.DOTALL)
        assert body is not None, f"{header} has no counters"
        for name, what in re.findall(r"^\s+([A-Z0-9_]+),\s*// (.*)$", body.group(1), re.MULTILINE):
            parts.append(f"| `{name.lower()}` | {what} |")
    parts.append(
        f"\n## Hypervisor with `netfilter`, nftables (`nft list table {nat.where(4)}`, of IPv6 `{nat.where(6)}`)\n"
    )
    parts.append("| counter | what happened |\n| --- | --- |")
    parts += [f"| `{name}` | {what} |" for name, what in nat.COUNTERS.items()]
    return "\n".join(parts) + "\n"


def errors_page() -> str:
    """The tree of errors."""
    return f"# Errors\n\n```text\n{inspect.getdoc(errors)}\n```\n"


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a page is out of date")
    check = parser.parse_args().check
    pages = {
        "settings.md": settings_page(),
        "command-line.md": command_page(),
        "counters.md": counters_page(),
        "errors.md": errors_page(),
    }
    old = [name for name, text in pages.items() if not _same(PAGES / name, NOTE + text)]
    if check:
        sys.stderr.writelines(f"docs/reference/{name} is out of date: run `make docs`\n" for name in old)
        return 1 if old else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in old:
        (PAGES / name).write_text(NOTE + pages[name])
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
