"""The pages keep to one width, so that a changed word is a changed line. Pages and code avoid words that were misread."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = {"node_modules", "shared", "build", "dist"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in HIDDEN for part in path.relative_to(ROOT).parts)
)
MODULES = sorted((ROOT / "jamtools").rglob("*.py"))
MAX_COLUMNS = 100
#: Words and idioms that were misread. "Again" and "memorised" say the same; other runs are "other runs".
RETIRED = re.compile(r"\b(anew|afresh|in vain|by heart|company)\b", re.IGNORECASE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page that can be wrapped: not code, not a table, not a line that is one long link."""
    is_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith(("|", "    ")) and not re.fullmatch(r"\s*\S*://\S*", line):
            yield number, line


def test_the_readme_and_the_pages_of_docs_and_examples_are_checked():
    assert {"README.md", "docs/training.md", "examples/slurm/README.md"} <= set(map(name, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_line_of_a_page_is_wider_than_100_columns(page):
    wide = [number for number, line in prose(page) if len(line) > MAX_COLUMNS]
    assert not wide, f"{name(page)}: wrap the lines {wide}"


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=name)
def test_no_page_and_no_module_uses_a_retired_word(path):
    lines = enumerate(path.read_text().splitlines(), 1)
    assert not [(number, RETIRED.findall(line)) for number, line in lines if RETIRED.search(line)]
