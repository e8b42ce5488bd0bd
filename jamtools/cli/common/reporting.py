"""What a command prints about itself on stderr: no notes with --quiet, tracebacks with --debug."""

from __future__ import annotations

from dataclasses import dataclass

import typer


@dataclass
class Reporting:
    """The flags of one process; `run` makes it, and the parser of options sets it.

    is_interrupted: whether Ctrl-C came; the signal handler sets it.
    """

    quiet: bool = False
    debug: bool = False
    is_interrupted: bool = False


def set_reporting(context: typer.Context, option: typer.CallbackParam, value: bool) -> bool:
    """The callback of --quiet and --debug: keeps the flag where `run` can read it after the context has ended."""
    if value and isinstance(context.obj, Reporting):  # it is None while `jam-nstar plan` checks a line
        setattr(context.obj, str(option.name), True)
    return value


class Interrupted(BaseException):
    """Ctrl-C, with what the command says about it. As with KeyboardInterrupt, no `except Exception` catches it."""
