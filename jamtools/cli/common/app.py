"""What every command shares at its edges: signals, errors, exit codes and standard streams.

Exit codes: 0 done; 1 bad input or failure, with one line on stderr; 2 usage; 130 interrupt; 143 SIGTERM. A closed pipe
ends the command by SIGPIPE, without a message, as it ends other filters.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.completion import completion_init
from typer.main import get_command

from jamtools.cli.common.remedies import in_shell_words
from jamtools.cli.common.reporting import Interrupted, Reporting
from jamtools.errors import JamError, nearest_of

#: The options that print the help of a command and of its subcommands.
HELP_OPTIONS = ["-h", "--help"]

#: The flags that typer adds to every command.
TYPER_FLAGS = ("help", "install_completion", "show_completion")

INTERRUPTED_CODE = 130

TERMINATED_CODE = 128 + signal.SIGTERM


def _ancestor(error: type[Exception], name: str) -> type[Exception]:
    """The class of that name from which a class of errors derives."""
    return next(ancestor for ancestor in error.__mro__ if ancestor.__name__ == name)


# Of click's errors, typer exports only BadParameter. Typer before version 0.26 imports click; later versions contain a
# copy of it. So the base classes of BadParameter have no import path that is valid for all versions.
UsageError = _ancestor(typer.BadParameter, "UsageError")

ClickException = _ancestor(typer.BadParameter, "ClickException")


def new_app(help: str | None = None, completion: bool = True) -> typer.Typer:
    """A typer application that leaves errors to `run`. Typer's rich help would take 0.2 s, so it is off.

    completion: whether it has typer's options that install the completion of this command alone.
    """
    return typer.Typer(
        help=help,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        add_completion=completion,
    )


def run(app: typer.Typer, name: str) -> NoReturn:
    """Runs a command as a process, and ends the process with the exit code."""
    # OpenMP threads that spin while they wait slow a busy machine down many times. torch reads this when it is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    reporting = Reporting()
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    _remember_interrupts(reporting)
    _replace_closed_streams()
    _shorten_warnings(name, reporting)
    try:
        code = _exit_code(app, name, reporting)
        _close_stdout()
    except BrokenPipeError:
        _die_of_sigpipe()
    except JamError as error:  # the rest could not be written to standard output
        _print_error(name, in_shell_words(error))
        code = 1
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Opens the streams that the shell closed.

    After `>&-` a write must fail, and must not reach a file that is opened later under the same number. After `2>&-`
    a message must not go to stdout.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _shorten_warnings(name: str, reporting: Reporting) -> None:
    """Prints a library's warning as a note of one line; hides it with --quiet; leaves it whole with --debug."""
    show_whole = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *details: object) -> None:
        if reporting.debug:
            show_whole(message, category, filename, *details)  # type: ignore[arg-type]
        elif not reporting.quiet:
            _print_error(name, f"warning: {message}")

    warnings.showwarning = show  # type: ignore[assignment]


def _exit_code(app: typer.Typer, name: str, reporting: Reporting) -> int:
    """Runs the command; turns what it raises into an exit code and one line on stderr."""
    completion_init()  # typer does this only for commands that have its options of completion
    command = get_command(app)
    command.context_settings.setdefault("help_option_names", HELP_OPTIONS)  # subcommands inherit it
    _set_defaults_of_flags(command)
    try:
        result = command.main(args=sys.argv[1:], prog_name=name, standalone_mode=False, obj=reporting)
        if result == INTERRUPTED_CODE:  # typer's answer to a KeyboardInterrupt
            return _interrupted_code(name)
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except Interrupted as interruption:
        return _interrupted_code(name, str(interruption))
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # click turns a closed pipe into exit code 1
            raise ending.__context__ from None
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted_code(name)
    except Exception as error:
        if reporting.is_interrupted and not isinstance(error, JamError):
            return _interrupted_code(name)
        return _failure_code(name, error, reporting)


def _set_defaults_of_flags(command: Any) -> None:
    """Makes False the default of typer's own flags. typer imports pydantic, for 0.2 s, to check the default None."""
    context = typer.Context(command, **command.context_settings)
    for option in command.get_params(context):  # with --help, which the command keeps
        if option.name in TYPER_FLAGS and option.default is None:
            option.default = False


def _interrupted_code(name: str, text: str = "interrupted") -> int:
    _print_error(name, text)
    return INTERRUPTED_CODE


def _failure_code(name: str, error: Exception, reporting: Reporting) -> int:
    """Prints an error, with its traceback if --debug asks for it; returns the exit code."""
    # A command line that cannot be parsed (an unknown option, a missing value) does not set the flag, so the word
    # itself is searched for. At worst, a file with the name --debug causes a traceback.
    unparsed_debug = isinstance(error, UsageError) and "--debug" in sys.argv
    if reporting.debug or unparsed_debug:
        traceback.print_exc()
    if isinstance(error, ClickException):
        text = error.format_message().rstrip(".").replace("Value error, ", "")  # type: ignore[attr-defined]
        _print_error(name, f"{text}{_suggestion(text)}; see {name} --help")
        return 2 if isinstance(error, UsageError) else 1
    _print_error(name, _message(error))
    return 1


def _suggestion(text: str) -> str:
    """The choice that looks most like a value that is none of the choices; click suggests only options and commands."""
    match = re.search(r"'([^']+)' is not one of (.+)", text)
    nearest = nearest_of(match[1], re.findall(r"'([^']+)'", match[2])) if match else None
    return f"; did you mean {nearest}?" if nearest else ""


def _message(error: Exception) -> str:
    """The text that the user reads for an error that is not a usage error."""
    if isinstance(error, JamError):
        return in_shell_words(error)
    if _is_out_of_memory(error):
        size = re.search(r"to allocate ([\d.]+ \w+)", str(error))
        lacking = f" ({size[1]} more)" if size else ""
        return f"out of memory{lacking}; use fewer patterns or a smaller network"
    if isinstance(error, OSError):  # for example on a full disk, while the help text is written
        return f"{error.filename or 'standard output'}: {(error.strerror or str(error)).lower()}"
    return f"unexpected {type(error).__name__}: {error}; run it with --debug to see where"


def _is_out_of_memory(error: Exception) -> bool:
    """numpy raises MemoryError; torch raises a RuntimeError, with different words on the CPU and on CUDA."""
    torch_message = isinstance(error, RuntimeError) and re.search(
        "out of memory|can't allocate memory", str(error)
    )
    return isinstance(error, MemoryError) or bool(torch_message)


def _print_error(name: str, text: object) -> None:
    print(f"{name}: {' '.join(str(text).split())}", file=sys.stderr)


def _remember_interrupts(reporting: Reporting) -> None:
    """Records that Ctrl-C came. A process that ignores Ctrl-C, as a shell's background jobs do, goes on ignoring it.

    A compiled module that is interrupted while Python imports it replaces the KeyboardInterrupt by an ImportError.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        reporting.is_interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _exit_on_sigterm(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that temporary files are removed."""
    sys.exit(TERMINATED_CODE)


def _close_stdout() -> None:
    """Flushes stdout while an exit code can still report a failure. Python itself flushes only after main has ended."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_stdout()
        raise JamError(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _drop_stdout() -> None:
    """Sends the rest of the buffer to /dev/null, so that Python's own flush at exit does not fail as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die_of_sigpipe() -> NoReturn:
    _drop_stdout()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise AssertionError("SIGPIPE did not end the process")
