"""One invocation of one command: where it reads and writes, what it tells the user, its provenance."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from jamtools.errors import InputError, OutputError
from jamtools.io.streams import STDIN, check_writable, json_line, write_all, write_file

if TYPE_CHECKING:
    import torch

#: Below this many numbers an operation, threads wait for each other longer than they work.
SMALL = 250_000

#: Options that say where things go, not what is computed: left out of a recorded command line.
UNRECORDED_WITH_VALUE = ("-o", "--output", "--checkpoint", "--checkpoint-every", "--time-limit")

UNRECORDED = ("-q", "--quiet", "--resume", "--debug")


class Session:
    """Checks the output before any work is done, and owns stderr.

    `binary`: the command writes arrays, which a terminal must not get.
    """

    def __init__(self, command: str, output: str = STDIN, quiet: bool = False, binary: bool = False) -> None:
        self.command = command
        self.output = output
        self.quiet = quiet
        self.device = "cpu"
        self.dtype = "float64"
        if output != STDIN:
            check_writable(output)
        elif binary and sys.stdout.isatty():
            raise OutputError(
                "standard output is a terminal and the result is binary; add -o FILE or pipe it on"
            )

    # --- telling ------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            print(f"{self.command}: {text}", file=sys.stderr)

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
        """A table for people, on stderr."""
        if self.quiet:
            return
        print_table(sys.stderr, make_table(columns, rows, title))

    @contextmanager
    def progress(self, what: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
        """Gives `update(done, text)`, which moves a bar where stderr is a terminal and else does nothing."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, text: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total, text="")
            yield lambda done, text: bar.update(task, completed=done, text=text)

    # --- torch --------------------------------------------------------------------------------------

    def torch_setup(
        self, device: str = "auto", dtype: str = "float64", threads: int = 0, numbers: int | None = None
    ) -> tuple[torch.device, torch.dtype]:
        """The device and dtype asked for, checked; remembered for the provenance.

        `numbers` is the size of the arrays that each operation works on: small ones get one thread unless asked.
        """
        import torch

        if not threads and numbers is not None and numbers < SMALL:
            threads = 1
        if threads:
            torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._check_device(device)
        torch.backends.cuda.matmul.allow_tf32 = False  # TF32 would lose 13 bits of a float32
        self.device, self.dtype = device, dtype
        return torch.device(device), getattr(torch, dtype)

    @staticmethod
    def _check_device(device: str) -> None:
        import torch

        if device == "cpu":
            return
        if not torch.cuda.is_available():
            raise InputError(f"--device {device}: torch finds no CUDA device; use --device cpu")
        index = int(device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise InputError(
                f"--device {device}: this machine has {torch.cuda.device_count()} CUDA device(s)"
            )

    # --- writing ------------------------------------------------------------------------------------

    def provenance(self, *inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The steps of all inputs, each once, and this one."""
        from importlib.metadata import version

        from jamtools import __version__

        steps: list[dict[str, Any]] = []
        for chain in inputs:
            steps += [step for step in chain if step not in steps]
        argv = recorded_argv(sys.argv[1:])
        own = {"command": self.command, "argv": argv, "jamtools": __version__, "torch": version("torch")}
        return [*steps, {**own, "device": self.device, "dtype": self.dtype}]

    def write(self, data: bytes) -> None:
        """The whole result, to the file or to standard output."""
        if self.output != STDIN:
            write_file(self.output, data)
            return
        try:
            with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stream:
                write_all(stream, data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output: {(error.strerror or str(error)).lower()}") from error

    def write_json(self, records: Iterable[Mapping[str, Any]]) -> None:
        """JSON lines."""
        self.write(b"".join(json_line(record) for record in records))


def print_table(stream: TextIO, table: Any) -> None:
    """Prints a rich table as wide as it is: on a narrow terminal a wrapped row still holds its numbers."""
    from rich.console import Console

    Console(file=stream, width=1000).print(table)


def make_table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> Any:
    """A rich table of right-aligned values."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    return table


def shown(value: object) -> str:
    """A value as a table shows it: four digits are enough for people."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def recorded_argv(argv: list[str]) -> list[str]:
    """A command line without its outputs and without folders: it does not depend on where it was typed."""
    kept: list[str] = []
    skip = False
    for argument in argv:
        argument = re.sub(r"^-q+(?=\w)", "-", argument)  # -qo FILE is -q -o FILE
        if skip:
            skip = False
        elif argument in UNRECORDED_WITH_VALUE:
            skip = True
        elif not _unrecorded(argument):
            kept.append(_without_folder(argument))
    return kept


def _unrecorded(argument: str) -> bool:
    """True for flags left out and for `--output=FILE`, `-oFILE`."""
    if argument in UNRECORDED or argument.partition("=")[0] in UNRECORDED_WITH_VALUE:
        return True
    return argument.startswith("-o") and not argument.startswith("--")


def _without_folder(argument: str) -> str:
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if os.sep in value and os.path.exists(value):
        return f"{name}{equals}{os.path.basename(os.path.normpath(value))}"
    return argument
