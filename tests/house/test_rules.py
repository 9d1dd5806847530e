"""Rules of the house that a reviewer would otherwise have to remember."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import bascule
from bascule.model import errors

SOURCE = Path(bascule.__file__).parent
TESTS = Path(__file__).parents[1]
# A file of one of these names decides: it does no I/O, takes no time and rolls no dice.
DECIDING = {
    "audit", "capabilities", "decide", "demands", "desired", "diagnosis", "diff", "events", "facts", "fencing",
    "findings", "firewall", "health_check_rules", "history", "inventory", "layout", "locality", "machine_events",
    "naming", "observed", "paths", "patience", "patterns", "placement", "plan", "quarantine", "quorum", "quoting",
    "rebalance", "remarks", "render", "serving", "strays", "sysctls", "table", "topology", "translate",
    "tunnel_layout", "verdict",
}  # fmt: skip
ACTING = {"asyncio", "httpx", "os", "pyroute2", "random", "secrets", "socket", "sqlalchemy", "subprocess", "time"}
LINES_MOST = 400
FUNCTION_LINES_MOST = 70


def modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file below a folder, parsed."""
    for path in sorted(root.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """The top-level packages a module imports itself."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_files_that_decide_do_not_act() -> None:
    """A file named for a decision imports nothing that acts."""
    guilty = {
        str(path.relative_to(SOURCE)): sorted(found)
        for path, tree in modules(SOURCE)
        if path.stem in DECIDING and (found := imported(tree) & ACTING)
    }
    assert guilty == {}


def test_every_module_says_what_it_is() -> None:
    """Modules and packages open with a docstring."""
    assert [str(path) for path, tree in modules(SOURCE) if not ast.get_docstring(tree)] == []


def test_every_public_class_and_function_promises_something() -> None:
    """Public definitions have a docstring."""
    silent = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for path, tree in modules(SOURCE)
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_test_is_a_sentence() -> None:
    """A test says in its docstring what holds."""
    silent = [
        f"{path.relative_to(TESTS)}:{node.lineno} {node.name}"
        for path, tree in modules(TESTS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_modules_and_functions_stay_small() -> None:
    """No module above 400 lines, no function above 70: a newcomer must hold them in the head."""
    large = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path, tree in modules(SOURCE)
        if "migrations" not in path.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno > FUNCTION_LINES_MOST
    ]
    long = [str(path) for path, _ in modules(SOURCE) if len(path.read_text().splitlines()) > LINES_MOST]
    assert large + long == []


def leaves(kind: type[errors.BasculeError]) -> Iterator[type[errors.BasculeError]]:
    """The tree of errors, without its root."""
    for child in kind.__subclasses__():
        yield child
        yield from leaves(child)


@pytest.mark.parametrize("kind", list(leaves(errors.BasculeError)), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_an_exit_code_and_a_place_in_the_drawing(kind: type[errors.BasculeError]) -> None:
    """Errors cross every border in a defined way, and the drawing of their tree is complete."""
    assert 400 <= kind.status < 600
    assert kind.exit_code > 0
    assert kind.code != errors.BasculeError.code
    drawing = inspect.getdoc(errors) or ""
    assert any(kind.__name__ in line and str(kind.status) in line for line in drawing.splitlines())


def test_source_names_no_other_machine() -> None:
    """Nothing committed carries a path of the machine it was written on."""
    root = TESTS.parent
    places = [SOURCE, TESTS, root / "bpf", root / "docs", root / "benchmarks", root / "examples"]
    files = [path for place in places for path in place.rglob("*") if path.suffix in {".py", ".h", ".c", ".md"}]
    home = "/" + "work" + "/"
    assert [str(path) for path in [*files, *root.glob("*.md")] if home in path.read_text()] == []
