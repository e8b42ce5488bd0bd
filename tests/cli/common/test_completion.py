"""The commands are known by the first lines of their modules."""

from __future__ import annotations

import tomllib

from jamtools.cli.common import completion
from tests.support.commands import ROOT


def test_the_commands_are_those_of_the_package():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert list(completion.commands()) == sorted(scripts)


def test_the_purpose_of_a_command_is_one_line_without_a_full_stop():
    for purpose in completion.commands().values():
        assert purpose and "\n" not in purpose and not purpose.endswith(".")
