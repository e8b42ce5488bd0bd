"""What every command shares at its edges: signals, errors, exit codes, and its streams.

0 done; 1 bad input or failure, one line on stderr; 2 usage; 130 interrupt; 143 SIGTERM;
a closed pipe ends quietly, by SIGPIPE as other filters do.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import NoReturn

import typer
from typer.main import get_command

from jamtools.cli.common.remedies import in_shell_words
from jamtools.errors import JamError

#: typer's own class of usage errors, and of all errors it formats, whichever click it was built on.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

ClickError: type[Exception] = UsageError.__mro__[1]

INTERRUPTED = 130

TERMINATED = 128 + signal.SIGTERM


def new_app(help: str | None = None) -> typer.Typer:
    """A typer application whose errors come back to `run`; its rich help would cost 0.2 s."""
    return typer.Typer(
        help=help, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False
    )


def run(app: typer.Typer, name: str) -> NoReturn:
    """Runs a command as a process does, to its exit code."""
    # OpenMP threads that spin while they wait make a busy machine many times slower; read when torch is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminated)
    _replace_closed_streams()
    _shorten_warnings(name)
    try:
        code = _outcome(app, name)
        _close_stdout(name)
    except BrokenPipeError:
        _die_of_sigpipe()
    except JamError as error:  # standard output could not take the rest
        _say(name, in_shell_words(error))
        code = 1
    sys.exit(code)


def _replace_closed_streams() -> None:
    """After >&- a write must fail, and not reach a file opened later; after 2>&- print must not turn to stdout."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _shorten_warnings(name: str) -> None:
    """What a library warns of is a note for the user: one line, and none with --quiet."""

    def show(message: Warning | str, *where: object, **more: object) -> None:
        if not {"-q", "--quiet"} & set(sys.argv):
            _say(name, f"warning: {message}")

    if "--debug" not in sys.argv:
        warnings.showwarning = show


def _outcome(app: typer.Typer, name: str) -> int:
    """Runs the command and turns what it raised into an exit code and one line on stderr."""
    try:
        result = get_command(app).main(args=sys.argv[1:], prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # click makes exit code 1 of a closed pipe
            raise ending.__context__ from None
        raise
    except KeyboardInterrupt:
        _say(name, "interrupted")
        return INTERRUPTED
    except typer.Abort:
        _say(name, "interrupted")
        return INTERRUPTED
    except Exception as error:
        return _failure(name, error)


def _failure(name: str, error: Exception) -> int:
    if isinstance(error, ClickError):
        if "--debug" in sys.argv:
            traceback.print_exc()
        what = error.format_message().rstrip(".").replace("Value error, ", "")  # type: ignore[attr-defined]
        _say(name, f"{what}; see {name} --help")
        return 2 if isinstance(error, UsageError) else 1
    if "--debug" in sys.argv:
        traceback.print_exc()
    if isinstance(error, JamError):
        _say(name, in_shell_words(error))
    elif _is_out_of_memory(error):
        size = re.search(r"to allocate ([\d.]+ \w+)", str(error))
        lacking = f" ({size[1]} more)" if size else ""
        _say(name, f"out of memory{lacking}; use fewer patterns or a smaller network")
    elif isinstance(error, OSError):  # of a help text, say, that a full disk could not take
        _say(name, f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}")
    else:
        _say(name, f"unexpected {type(error).__name__}: {error}; run it with --debug to see where")
    return 1


def _is_out_of_memory(error: Exception) -> bool:
    """numpy raises MemoryError, torch a RuntimeError that says so, on the CPU and on CUDA in different words."""
    said = isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory", str(error))
    return isinstance(error, MemoryError) or bool(said)


def _say(name: str, what: object) -> None:
    print(f"{name}: {' '.join(str(what).split())}", file=sys.stderr)


def _terminated(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that temporary files go."""
    sys.exit(TERMINATED)


def _close_stdout(name: str) -> None:
    """Python would report a failing flush after main has ended, when it is too late for an exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_stdout()
        raise JamError(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _forget_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die_of_sigpipe() -> NoReturn:
    _forget_stdout()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise AssertionError("SIGPIPE did not end the process")
