"""The errors that a user sees. Every message states what was given, what was expected, and what to do.

The library states what to do as a `Remedy`, in terms of Python. The command line has its own table, from each remedy to the
option or command with the same effect. It prints a `JamError` as one line on stderr and ends with exit code 1. Any other
exception is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from typing import Self


class Remedy(Enum):
    """What the user can do about an error. The value is a phrase in terms of Python; `{name}` is a detail of the error."""

    # of a record or any package
    FLOAT64 = "use dtype float64"
    OTHER_DEVICE = "run it on another device"
    LARGER_DATASET = "make a larger dataset"
    TRAIN_AGAIN = "train it again"
    EXACT_SPECTRUM = "compute the exact spectrum of all parts, not their signs alone"
    LANCZOS_OR_MORE_MEMORY = "estimate the density by Lanczos, or allow more memory"
    CONVERT_ARRAYS = "convert it to float64"
    SHOW_FIELDS = "look at the fields of a record"
    RUNS_OF_ONE_DATASET = "merge only runs of one dataset"
    NO_TEST_SET = "leave the test sets out"
    # data
    KEEP_OFF_SPHERE = "pass sphere=False"
    FEWER_COMPONENTS = "ask for fewer components"
    FEWER_PATTERNS = "ask for fewer patterns"
    LABEL_RULE = "pass labels='parity' for 0 and 1, or labels='classes' for class numbers"
    # network
    PLAIN_NETWORK = "train with batch_norm=False"
    ON_CPU = "compute it on the CPU"
    # linalg
    EIGENVALUES_INSTEAD_OF_SIGNS = "compute the eigenvalues instead of their signs"
    FEWER_EIGENVALUES = "ask for fewer"
    FLOAT64_OR_LEAVE_OUT = "use dtype float64, or leave the run out"
    # engines
    TORCH_ENGINE_AND_REPORT = "use the torch engine and report this error"
    # cusps
    LOWER_TOLERANCE = "lower the tolerance"
    # hessian
    # minima
    WITHOUT_CURVATURE = "leave the curvature out"
    ADAM = "use optimizer='adam'"
    APPROACH_FIRST = "take them to their jamming points with approach_many first"
    FIXED_NORM = "train it with norm='3x'"
    # training
    TORCH_ENGINE = "use the torch engine"
    NO_NEIGHBOUR_LIST = "leave neighbour_list off"
    SMALLER_RUN = "take fewer patterns, a smaller width or dtype float32"
    NO_BATCH_OR_SMALLER_RUN = (
        "use the torch engine, one run at a time, or take fewer patterns, a smaller width or dtype float32"
    )
    # exponents
    FINISH_DESCENT = "train the runs longer, finish them with the newton optimiser, or pass lower_cut"
    KEEP_DEAD = "pass keep_dead=True to use dead ones too"
    # transition
    COLD_SEARCH = "search each seed with cold=True"
    JAMMED_SPECTRA = "take spectra of jammed runs with all parts of the Hessian"
    MORE_STEPS_OR_WIDTH = "give the searches more steps or a larger max_width"
    SEARCH_AGAIN = "make the searches again"
    SEARCH_TIMES = "search with times=({time},)"
    # io
    ANOTHER_CHECKPOINT = "remove it or give another file for the checkpoint"
    ALL_RUNS_OF_CHECKPOINT = (
        "ask for all runs of the checkpoint, or remove it, or give another file for the checkpoint"
    )
    ANOTHER_JOURNAL = "remove it or give another file for the journal"
    ANOTHER_PLACE_FOR_CHECKPOINT = "give another file for the checkpoint"
    ANOTHER_PLACE_FOR_JOURNAL = "give another file for the journal"
    RESUME_JOURNAL = "continue it with resume=True, or remove it, or give another file for the journal"
    MAKE_DATASET = "make one with random_sphere, image_dataset or array_dataset"
    TRAIN_FIRST = "train networks on it first"
    COMPUTE_SPECTRA_FIRST = "compute the spectra of runs first"
    SEARCH_FIRST = "search for N* first"
    READ_ARRAYS = "read its arrays with read_arrays"
    CHECK_WHAT_WROTE_IT = "check the program that should have written it"
    JSON_OF_JAMTOOLS = "expected JSON lines that jamtools wrote"
    NAME_A_FILE = "name a file"
    PUT_OR_DOWNLOAD_IMAGES = "put {files} into {folder}, or fetch MNIST with download_mnist"
    ONE_TEST_SET = "leave the files of the test set out"


def nearest_of(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None where none does."""
    by_lower = {other.lower(): other for other in sorted(known)}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


class JamError(Exception):
    """An error that the user can understand and correct.

    text: what was given and what was expected; remedy: what to do; details: the values of the names in the remedy.
    str() joins text and remedy.
    """

    def __init__(self, text: str, remedy: Remedy | None = None, **details: object) -> None:
        self.text, self.remedy, self.details = text, remedy, details
        super().__init__(f"{text}; {remedy.value.format(**details)}" if remedy else text)

    def with_prefix(self, prefix: str) -> Self:
        """The same error and remedy, with `prefix` (for example the name of a file) before the text."""
        return type(self)(f"{prefix}{self.text}", self.remedy, **self.details)


class InputError(JamError):
    """An artefact or an argument that cannot be used."""


class OutputError(JamError):
    """A result that could not be written."""


class CheckError(JamError):
    """A result that fails its own check: it is withheld, not printed."""
