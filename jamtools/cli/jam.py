"""jam: lists the commands, and lets the shell complete their options."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.completion import Shell, commands, install, scripts
from jamtools.cli.common.options import Version, reporting_flag

NAME = "jam"
app = new_app(completion=False)

Install = Annotated[
    bool,
    typer.Option("--install-completion", help="Let the shell complete the options of all commands."),
]
Show = Annotated[
    bool,
    typer.Option(
        "--show-completion", help="Print what --install-completion would install, to use it otherwise."
    ),
]
ShellName = Annotated[
    Shell | None,
    typer.Option("--shell", help="Install or print completion for this shell [default: as in $SHELL]."),
]
Debug = Annotated[bool, reporting_flag("--debug", help="Show the traceback of an error.")]


@app.command()
def jam(
    *,
    install_completion: Install = False,
    show_completion: Show = False,
    shell: ShellName = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """List the commands of jamtools, or let the shell complete their options.

    \b
    Examples:
      jam
      jam --install-completion
      jam --show-completion --shell zsh

    Each command has --help, with an example in it. One reads what another writes:

    \b
      jam-data random -P 1000 -d 10 | jam-train --width 10 --depth 3 | jam-hessian | jam-show --table
    """
    if install_completion and show_completion:
        raise typer.BadParameter("got --install-completion and --show-completion, expected one of them")
    if shell and not (install_completion or show_completion):
        raise typer.BadParameter("got --shell alone, expected it with --install-completion")
    if install_completion:
        for path in install(shell or shell_of_the_user()):
            print(f"wrote {path}")
        print("every shell that you start from now on completes the options of the jam commands")
    elif show_completion:
        print(scripts(shell or shell_of_the_user()))
    else:
        print_commands()


def shell_of_the_user() -> Shell:
    """The shell that $SHELL names. Raises a usage error if that is another one."""
    name = os.path.basename(os.environ.get("SHELL", ""))
    for shell in ("bash", "zsh", "fish"):
        if name == shell:
            return shell
    raise typer.BadParameter(
        f"got {name or 'no shell'} in $SHELL, expected bash, zsh or fish; name one with --shell"
    )


def print_commands() -> None:
    """A line for each command: its name and what it does."""
    width = max(map(len, commands()))
    for name, purpose in commands().items():
        print(f"{name:{width}}  {purpose}")


def main() -> None:
    """The process jam."""
    run(app, NAME)


if __name__ == "__main__":
    main()
