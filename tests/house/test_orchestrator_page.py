"""The page that teaches how to write another orchestrator tells what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-an-orchestrator.md").read_text()
EXCERPTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROOFS = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda excerpt: excerpt.strip().splitlines()[0][:40])
def test_excerpts_are_verbatim(excerpt: str) -> None:
    """Each stands in the example, line by line, as it is on the page."""
    assert f"\n{excerpt}" in (ROOT / "examples" / "elastic_ip.py").read_text()


@pytest.mark.parametrize(("path", "name"), PROOFS, ids=lambda part: part)
def test_each_promise_is_proven_by_a_test_that_exists(path: str, name: str) -> None:
    """Whoever renames a test finds the page."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_page_has_excerpts_and_proofs() -> None:
    """Neither of the tests above runs over nothing."""
    assert len(EXCERPTS) > 5
    assert len(PROOFS) > 10


def test_the_facade_exports_what_the_page_and_the_example_import() -> None:
    """A reader needs one import: what is public is in `bascule.orchestration` by name."""
    example = ast.parse((ROOT / "examples" / "elastic_ip.py").read_text())
    modules = {node.module for node in ast.walk(example) if isinstance(node, ast.ImportFrom) and node.module}
    assert {module for module in modules if module.startswith("bascule")} == {
        "bascule.model.errors",
        "bascule.orchestration",
    }
