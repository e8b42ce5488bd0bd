"""Make .venv in the root of the clone and install jamtools into it: once, whoever asks and however many at a time.

Called by bin/setup. Needs the standard library alone. Three rules hold it together:

- One at a time. Whoever installs holds a lock on .venv.lock. The open lock file is the standard input of every
  process started here, and so of their children: should this process be killed, a pip left behind keeps the lock
  until it is gone too, and nobody installs beside it.
- Done means done. jamtools-ready is written last and in one stroke. Where it is missing, a set-up was cut short and
  what it left is thrown away; jamtools-begun, written first, tells such a ruin from an environment of the user's own.
- Hands off. The test tools go on top of a finished environment without touching what is in it, so that commands
  which are running notice nothing.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "constraints.txt"
LOCK = ROOT / ".venv.lock"

VENV = (ROOT / ".venv").resolve()  # a link to a larger disk is left a link
PYTHON = VENV / "bin" / "python"
READY = VENV / "jamtools-ready"  # three lines: the folder it was made for, "plain" or "test", a fingerprint
BEGUN = VENV / "jamtools-begun"
TESTS_BEGUN = VENV / "jamtools-tests-begun"  # the distributions that were there before the test tools

LARGE = re.compile(r"\s*Downloading (\w+).*(\(.* [MG]B\))")
NO_NETWORK = ("Retrying (", "onnectionError", "onnection refused", "ConnectTimeout", "name resolution")


class SetupError(Exception):
    """The set-up cannot be done; the message is one line that says why and what to do."""


def main(arguments: list[str]) -> int:
    """Set up what was asked for, unless it is there; return the exit code."""
    if arguments not in ([], ["test"]):
        say("usage: bin/setup [test]")
        return 2
    wanted = "test" if arguments else "plain"
    try:
        if not is_ready(wanted):
            with the_lock() as lock:
                if not is_ready(wanted):  # another may have done it while this one waited
                    install(wanted, lock)
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"cannot set up .venv: {error}; this needs a folder that you may write to, with room for torch")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def say(text: str) -> None:
    """Print a line for people; standard output belongs to the commands."""
    print(f"jamtools: {text}", file=sys.stderr, flush=True)


# --- is there anything to do? ---


def is_ready(wanted: str) -> bool:
    """Whether .venv holds what pyproject.toml and constraints.txt ask for, in this very place."""
    digest, date = source()
    made_for, installed, made_from = declaration()
    commands = ["python", *project()["project"]["scripts"]]
    ready = (
        is_here(made_for)
        and installed in (wanted, "test")
        and made_from == digest
        and all((VENV / "bin" / command).exists() for command in commands)
    )
    if ready:
        with suppress(OSError):  # in a clone that is not ours to write: bin/launch will ask again
            os.utime(READY, ns=(date, date))
    return ready


def source() -> tuple[str, int]:
    """Digest and date of what decides what gets installed; the settings of ruff or pytest are no part of it.

    The date is taken first and given to jamtools-ready, so that bin/launch sees any later edit.
    """
    date = max(path.stat().st_mtime_ns for path in (PYPROJECT, CONSTRAINTS))
    tables = project()
    decisive = [tables["build-system"], tables["project"], tables["tool"]["setuptools"]]
    return hashlib.sha256(json.dumps(decisive).encode() + CONSTRAINTS.read_bytes()).hexdigest(), date


def project() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))


def declaration() -> list[str]:
    """Read the three lines of jamtools-ready; empty ones where it is missing or spoilt."""
    try:
        lines = os.fsdecode(READY.read_bytes()).splitlines()
    except FileNotFoundError:
        lines = []
    return lines if len(lines) == 3 else ["", "", ""]


def declare(installed: str, digest: str, date: int) -> None:
    """Say that .venv is finished, as of that date."""
    write_at_once(READY, f"{ROOT}\n{installed}\n{digest}\n")
    os.utime(READY, ns=(date, date))


def is_here(folder: str) -> bool:
    """Whether that folder is this clone, by whatever path it is reached."""
    return os.path.isdir(folder) and os.path.samefile(folder, ROOT)


def write_at_once(path: Path, text: str) -> None:
    """Write a file that a reader finds either whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(os.fsencode(text))  # the shell compares paths byte by byte
    draft.replace(path)


# --- one at a time ---


@contextmanager
def the_lock() -> Iterator[IO[str]]:
    """Hold the lock of this clone. A failure is left in the lock file for those who waited, to spare them a try."""
    with open(LOCK, "a+") as lock:
        waited = take(lock)
        lock.seek(0)
        if waited and (failure := lock.read()):
            raise SetupError(failure)
        lock.truncate(0)
        try:
            yield lock
        except SetupError as error:
            lock.write(str(error))
            raise


def take(lock: IO[str]) -> bool:
    """Lock the file; return whether that meant waiting for another."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        say("another command is setting up .venv; waiting for it")
    except OSError as error:
        raise SetupError(
            f"no locks on this file system ({error.strerror}), so commands cannot take turns in setting up .venv;"
            " keep the clone on another disk, or install it by hand with pip install ."
        ) from error
    fcntl.flock(lock, fcntl.LOCK_EX)
    return True


# --- the work itself ---


def install(wanted: str, lock: IO[str]) -> None:
    """Bring .venv to what is wanted."""
    if not is_ready("plain"):
        install_package(lock)
    if wanted == "test":
        add_test_tools(lock)


def install_package(lock: IO[str]) -> None:
    """Install jamtools and what it needs, into a fresh .venv or on top of one that can be built on."""
    if VENV.exists() and not can_build_on():
        say("throwing away a .venv that was cut short, moved or broken")
        discard(VENV)
    for leftover in VENV.parent.glob(f"{VENV.name}.old-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # nobody uses it: what resists may stay
    python = getattr(sys, "_base_executable", sys.executable)  # not the one of a .venv that has just gone
    say(f"setting up .venv with {python}; torch is large, so the first time takes minutes")
    if os.environ.get("PYTHONPATH"):
        say("note: PYTHONPATH is set; what is found there is used in place of what .venv would hold")
    digest, date = source()
    VENV.mkdir(parents=True, exist_ok=True)
    BEGUN.touch()
    READY.unlink(missing_ok=True)
    if not PYTHON.exists():
        run([python, "-m", "venv", VENV], lock)
    forget_half_installed()
    pip_install(["--editable", ROOT], lock)
    declare("plain", digest, date)
    BEGUN.unlink()
    say(".venv is ready")


def can_build_on() -> bool:
    """Whether the .venv that is there is whole: one of ours for this place, or one that the user made."""
    if READY.exists() and not is_here(declaration()[0]):
        return False  # its scripts name the place where it was made
    if BEGUN.exists() and not READY.exists():
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([PYTHON, "-c", check], capture_output=True).returncode == 0
    except OSError:  # no such file, or nothing that runs
        return False


def discard(folder: Path) -> None:
    """Move a folder out of the way before deleting it: half-deleted, it might pass for the user's own."""
    grave = Path(tempfile.mkdtemp(prefix=f"{folder.name}.old-", dir=folder.parent))
    folder.rename(grave / folder.name)


def add_test_tools(lock: IO[str]) -> None:
    """Install the test tools on top of a finished .venv."""
    say("adding the test tools to .venv")
    digest, date = source()
    forget_half_installed()
    write_at_once(TESTS_BEGUN, "\n".join(path.name for path in distributions()))
    pip_install(project()["project"]["optional-dependencies"]["test"], lock)
    declare("test", digest, date)
    TESTS_BEGUN.unlink()


def forget_half_installed() -> None:
    """Make pip install anew what a cut-short add_test_tools may have left in pieces.

    pip goes by the .dist-info folders, which can be there before the rest is.
    """
    if TESTS_BEGUN.exists():
        whole = TESTS_BEGUN.read_text().splitlines()
        for path in distributions():
            if path.name not in whole:
                shutil.rmtree(path)
        TESTS_BEGUN.unlink()


def distributions() -> list[Path]:
    """List the .dist-info folders of what is installed in .venv."""
    return sorted(VENV.glob("lib/python3*/site-packages/*.dist-info"))


def pip_install(what: list[str | Path], lock: IO[str]) -> None:
    """Install with the versions of constraints.txt."""
    options: list[str | Path] = ["--no-input", "--disable-pip-version-check", "--constraint", CONSTRAINTS]
    run([PYTHON, "-m", "pip", "install", *options, *what], lock)


def run(command: list[str | Path], lock: IO[str]) -> None:
    """Run one step, holding the lock; tell of its downloads, and of its last lines should it fail."""
    environment = os.environ | {"PIP_USER": "0"}  # a user who sets it does not mean this .venv
    lines: deque[str] = deque(maxlen=15)
    offline = False
    with subprocess.Popen(
        command, stdin=lock, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=environment,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line.rstrip())
            offline = offline or any(sign in line for sign in NO_NETWORK)
            if large := LARGE.match(line):
                say(" ".join(("downloading", *large.groups())))
            if line.startswith("Installing collected packages"):
                say("installing")
    if process.returncode == 0:
        return
    if offline:
        raise SetupError(
            "pip reached no package index; connect to the network, or name a local source with PIP_FIND_LINKS"
            " or PIP_INDEX_URL, then run bin/setup"
        )
    print("\n".join(lines), file=sys.stderr)
    raise SetupError("the step above failed; put right what it names, then run bin/setup")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
