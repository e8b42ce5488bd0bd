"""One invocation of one command: where it writes, what it prints for the user, and its provenance."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jamtools.cli.common import progress
from jamtools.cli.common.progress import Update
from jamtools.cli.common.rich_tables import make_table, print_table
from jamtools.cli.common.tables import cells, command_columns, has_several_data
from jamtools.errors import InputError, OutputError
from jamtools.io.streams import STDIN, check_writable, json_line, write_all, write_file
from jamtools.machine import available_cores

if TYPE_CHECKING:
    import torch

    from jamtools.cli.common.groups import Arithmetic, Streams
    from jamtools.training.job import Compute

#: Operations on fewer numbers than this use one thread: several threads would wait for each other longer than they work.
SINGLE_THREAD_BELOW = 250_000

#: Options that decide where files go, not what is computed; they and their values are left out of a recorded command line.
UNRECORDED_WITH_VALUE = ("-o", "--output", "--checkpoint", "--checkpoint-every", "--time-limit")

#: Flags that are left out of a recorded command line.
UNRECORDED_FLAGS = ("-q", "--quiet", "--resume", "--debug")


class Session:
    """Checks the output before any work is done, and prints what goes to stderr.

    `binary`: the command writes arrays, which must not go to a terminal. Raises OutputError when the output cannot be
    written.
    """

    def __init__(self, command: str, streams: Streams, binary: bool = False) -> None:
        self.command = command
        self.output, self.quiet = streams.output, streams.quiet
        self.device = "cpu"
        self.dtype = "float64"
        if self.output != STDIN:
            check_writable(self.output)
        elif binary and sys.stdout.isatty():
            raise OutputError(
                "standard output is a terminal and the result is binary; add -o FILE or pipe it on"
            )

    # --- what the user sees ---------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Prints a line on stderr."""
        if not self.quiet:
            print(f"{self.command}: {text}", file=sys.stderr)

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
        """Prints a table on stderr."""
        if not self.quiet:
            print_table(sys.stderr, make_table(columns, rows, title))

    def records_table(
        self,
        kind: str,
        records: Iterable[Mapping[str, Any]],
        more: Sequence[str] = (),
        headings: Mapping[str, str] | None = None,
        title: str = "",
    ) -> None:
        """Prints the table of records of one kind: the columns that its command prints, and those in `more`.

        The last column names the data, where these differ. headings: the heading of a column, by its label, where it is not
        the label.
        """
        records = list(records)
        labels = [*command_columns(kind), *more]
        if has_several_data(kind, records) and "data" not in labels:
            labels.append("data")
        rows = (cells(kind, labels, record) for record in records)
        self.table([(headings or {}).get(label, label) for label in labels], rows, title)

    @contextmanager
    def progress(
        self, label: str, total: float | None, unit: str = "", has_forecast: bool = True
    ) -> Iterator[Update]:
        """Gives a function `update(done, text)`: it moves a bar, or without a terminal it feeds a line a minute.

        total: the amount of work, None if unknown; unit: what it counts, for the share that is done in each line;
        has_forecast: whether the bar tells the time that remains. With --quiet nothing is printed.
        """
        if self.quiet:
            yield lambda done, text, total=None: None
        elif sys.stderr.isatty():
            with progress.bar(label, total, has_forecast) as update:
                yield update
        else:
            with progress.Lines(self.command, total, unit).printed() as update:
                yield update

    # --- torch --------------------------------------------------------------------------------------

    def torch_setup(
        self, arithmetic: Arithmetic, array_size: int | None = None
    ) -> tuple[torch.device, torch.dtype]:
        """The device and dtype asked for; both go into the provenance. Raises InputError without that device.

        array_size: how many numbers the arrays of one operation hold. Small arrays get one thread unless more are asked for.
        """
        import torch

        threads, device = arithmetic.threads, arithmetic.device
        if not threads and array_size is not None and array_size < SINGLE_THREAD_BELOW:
            threads = 1
        if threads:
            torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._check_device(device)
        torch.backends.cuda.matmul.allow_tf32 = False  # TF32 would lose 13 bits of a float32
        self.device, self.dtype = device, arithmetic.dtype
        return torch.device(device), getattr(torch, arithmetic.dtype)

    def compute(self, arithmetic: Arithmetic, array_size: int, engine: str = "auto") -> Compute:
        """Where runs are trained: device and dtype of `torch_setup`, and the threads asked for or one for each core."""
        from jamtools.training.job import Compute

        return Compute(
            *self.torch_setup(arithmetic, array_size), arithmetic.threads or available_cores(), engine
        )

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
        """The steps that made the inputs, each once, and this command as the last step."""
        from importlib.metadata import version

        from jamtools import __version__

        steps: list[dict[str, Any]] = []
        for chain in inputs:
            steps += [step for step in chain if step not in steps]
        argv = recorded_argv(sys.argv[1:])
        this_step = {
            "command": self.command,
            "argv": argv,
            "jamtools": __version__,
            "torch": version("torch"),
        }
        return [*steps, {**this_step, "device": self.device, "dtype": self.dtype}]

    def write(self, data: bytes) -> None:
        """Writes the whole result, to the file or to standard output. Raises OutputError when that fails."""
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
        """Writes JSON lines, one for each record."""
        self.write(b"".join(json_line(record) for record in records))


def recorded_argv(argv: list[str]) -> list[str]:
    """A command line without its outputs and without folders, so that it does not depend on where it was typed."""
    kept: list[str] = []
    skip = False
    for argument in argv:
        argument = re.sub(r"^-q+(?=\w)", "-", argument)  # -qo FILE is -q -o FILE
        if skip:
            skip = False
        elif argument in UNRECORDED_WITH_VALUE:
            skip = True
        elif not _is_unrecorded(argument):
            kept.append(_without_folder(argument))
    return kept


def _is_unrecorded(argument: str) -> bool:
    """True for flags that are left out, and for `--output=FILE` and `-oFILE`."""
    if argument in UNRECORDED_FLAGS or argument.partition("=")[0] in UNRECORDED_WITH_VALUE:
        return True
    return argument.startswith("-o") and not argument.startswith("--")


def _without_folder(argument: str) -> str:
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if os.sep in value and os.path.exists(value):
        return f"{name}{equals}{os.path.basename(os.path.normpath(value))}"
    return argument
