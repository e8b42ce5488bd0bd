"""The completion of command lines by the shell, for all commands together.

The scripts are typer's own, one for each command. This module only joins them and puts them where the shell looks.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal

from jamtools.errors import OutputError

Shell = Literal["bash", "zsh", "fish"]

#: How the module of a command begins: its name, and what it does in one line.
FIRST_LINE = re.compile(r'"""(jam(?:-[a-z]+)?): (.+?)\.?(?:"""|\n)')


@cache
def commands() -> dict[str, str]:
    """What each command does, by its name: the first line of its module in the package `cli`."""
    lines = (FIRST_LINE.match(path.read_text("utf-8")) for path in Path(__file__).parents[1].glob("*.py"))
    return dict(sorted((line[1], line[2]) for line in lines if line))


def scripts(shell: Shell) -> str:
    """The scripts of all commands as one text, for `eval`."""
    from typer.completion import get_completion_script

    return "\n\n".join(
        get_completion_script(prog_name=name, complete_var=_variable(name), shell=shell)
        for name in commands()
    )


def install(shell: Shell) -> list[Path]:
    """Writes the scripts to where the shell finds them; returns the files. Doing it again changes nothing.

    zsh and fish have a file for each command, and typer puts it there. bash has one file, which ~/.bashrc reads. Raises
    OutputError when a file cannot be written.
    """
    from typer import completion

    try:
        if shell == "bash":
            return _install_bash()
        installed = [completion.install(shell, name, _variable(name)) for name in commands()]
    except OSError as error:
        raise OutputError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from error
    startup = [Path.home() / ".zshrc"] if shell == "zsh" else []
    return [path for _, path in installed] + startup


def _install_bash() -> list[Path]:
    path, startup = Path.home() / ".bash_completions" / "jam.sh", Path.home() / ".bashrc"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{scripts('bash')}\n")
    line = f"source '{path}'\n"
    before = startup.read_text() if startup.exists() else ""
    if line not in before:
        with startup.open("a") as file:
            file.write(line if before.endswith("\n") or not before else f"\n{line}")
    return [path, startup]


def _variable(name: str) -> str:
    """The environment variable by which the shell asks a command for completions."""
    return f"_{name.replace('-', '_').upper()}_COMPLETE"
