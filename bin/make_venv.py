"""Make .venv in the root of the clone and install jamtools into it, once, even if many commands ask at the same time.

bin/setup calls this program. It needs only the standard library. It follows three rules:

- One installation at a time. The process that installs holds a lock on .venv.lock. The open lock file is the standard input
  of every process that is started here, and so of their children: if this process is killed, a pip that survives keeps the
  lock until it ends, and no other process installs at the same time.
- A finished environment is marked. jamtools-ready is written last and in one step. If it is missing, the set-up was
  interrupted, and its remains are deleted. jamtools-begun is written first; it distinguishes such remains from an
  environment that the user made.
- Running commands are not disturbed. The test tools are added to a finished environment without changing anything in it.
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

VENV = (ROOT / ".venv").resolve()  # a symbolic link, to a larger disk say, stays a link
PYTHON = VENV / "bin" / "python"
READY = VENV / "jamtools-ready"  # three lines: the folder of the clone, "plain" or "test", a digest
BEGUN = VENV / "jamtools-begun"
TESTS_BEGUN = VENV / "jamtools-tests-begun"  # the distributions that were installed before the test tools

LARGE_DOWNLOAD = re.compile(r"\s*Downloading (\w+).*(\(.* [MG]B\))")
NETWORK_ERRORS = ("Retrying (", "onnectionError", "onnection refused", "ConnectTimeout", "name resolution")


class SetupError(Exception):
    """The set-up has failed; the message is one line with the reason and what to do."""


def main(arguments: list[str]) -> int:
    """Set up what the arguments ask for, unless it is there already; return the exit code."""
    if arguments not in ([], ["test"]):
        say("usage: bin/setup [test]")
        return 2
    wanted = "test" if arguments else "plain"
    try:
        if not is_ready(wanted):
            with setup_lock() as lock:
                if not is_ready(wanted):  # another process may have done it while this one waited
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
    """Print a line on standard error; standard output is for the results of the commands."""
    print(f"jamtools: {text}", file=sys.stderr, flush=True)


# --- the state of .venv ---


def is_ready(wanted: str) -> bool:
    """Return whether .venv was made for this clone, from the present pyproject.toml and constraints.txt."""
    digest, date = requirements()
    made_for, installed, made_from = ready_marker()
    commands = ["python", *project()["project"]["scripts"]]
    ready = (
        is_here(made_for)
        and installed in (wanted, "test")
        and made_from == digest
        and all((VENV / "bin" / command).exists() for command in commands)
    )
    if ready:
        with suppress(OSError):  # in a clone without write permission bin/launch will ask again
            os.utime(READY, ns=(date, date))
    return ready


def requirements() -> tuple[str, int]:
    """Return the digest and the date of what decides what is installed, without the settings of ruff or pytest.

    The date is read first and given to jamtools-ready, so that bin/launch notices any later edit.
    """
    date = max(path.stat().st_mtime_ns for path in (PYPROJECT, CONSTRAINTS))
    tables = project()
    parts = [tables["build-system"], tables["project"], tables["tool"]["setuptools"]]
    return hashlib.sha256(json.dumps(parts).encode() + CONSTRAINTS.read_bytes()).hexdigest(), date


def project() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))


def ready_marker() -> list[str]:
    """Return the three lines of jamtools-ready, or three empty ones if it is missing or damaged."""
    try:
        lines = os.fsdecode(READY.read_bytes()).splitlines()
    except FileNotFoundError:
        lines = []
    return lines if len(lines) == 3 else ["", "", ""]


def mark_ready(installed: str, digest: str, date: int) -> None:
    """Mark .venv as finished, with the date of its requirements."""
    write_in_one_step(READY, f"{ROOT}\n{installed}\n{digest}\n")
    os.utime(READY, ns=(date, date))


def is_here(folder: str) -> bool:
    """Return whether a folder is this clone, also by another path to it."""
    return os.path.isdir(folder) and os.path.samefile(folder, ROOT)


def write_in_one_step(path: Path, text: str) -> None:
    """Write a file so that a reader finds all of it or nothing."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(os.fsencode(text))  # the shell compares the bytes of paths
    draft.replace(path)


# --- the lock ---


@contextmanager
def setup_lock() -> Iterator[IO[str]]:
    """Hold the lock of this clone. A failure is written to the lock file: processes that waited then do not try again."""
    with open(LOCK, "a+") as lock:
        waited = acquire(lock)
        lock.seek(0)
        if waited and (failure := lock.read()):
            raise SetupError(failure)
        lock.truncate(0)
        try:
            yield lock
        except SetupError as error:
            lock.write(str(error))
            raise


def acquire(lock: IO[str]) -> bool:
    """Lock the file; return whether another process had it before."""
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


# --- the installation ---


def install(wanted: str, lock: IO[str]) -> None:
    """Install what is wanted and not there yet."""
    if not is_ready("plain"):
        install_package(lock)
    if wanted == "test":
        add_test_tools(lock)


def install_package(lock: IO[str]) -> None:
    """Install jamtools and its dependencies into a new .venv, or into the existing one if it is whole."""
    if VENV.exists() and not is_whole():
        say("deleting a .venv that was interrupted, moved or broken")
        discard(VENV)
    for leftover in VENV.parent.glob(f"{VENV.name}.old-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # it is not in use: files that cannot be deleted may stay
    python = getattr(sys, "_base_executable", sys.executable)  # not that of a .venv that was just deleted
    say(f"setting up .venv with {python}; torch is large, so this takes minutes the first time")
    if os.environ.get("PYTHONPATH"):
        say("note: PYTHONPATH is set; packages found there are used instead of those in .venv")
    digest, date = requirements()
    VENV.mkdir(parents=True, exist_ok=True)
    BEGUN.touch()
    READY.unlink(missing_ok=True)
    if not PYTHON.exists():
        run([python, "-m", "venv", VENV], lock)
    remove_half_installed()
    pip_install(["--editable", ROOT], lock)
    mark_ready("plain", digest, date)
    BEGUN.unlink()
    say(".venv is ready")


def is_whole() -> bool:
    """Return whether the existing .venv is complete: made by this program for this folder, or made by the user."""
    if READY.exists() and not is_here(ready_marker()[0]):
        return False  # its scripts contain the path where it was made
    if BEGUN.exists() and not READY.exists():
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([PYTHON, "-c", check], capture_output=True).returncode == 0
    except OSError:  # no such file, or not a program
        return False


def discard(folder: Path) -> None:
    """Rename a folder before deleting it: a half-deleted one could look like an environment of the user."""
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.old-", dir=folder.parent))
    folder.rename(temporary / folder.name)


def add_test_tools(lock: IO[str]) -> None:
    """Install the test tools on top of a finished .venv."""
    say("adding the test tools to .venv")
    digest, date = requirements()
    remove_half_installed()
    write_in_one_step(TESTS_BEGUN, "\n".join(path.name for path in distributions()))
    pip_install(project()["project"]["optional-dependencies"]["test"], lock)
    mark_ready("test", digest, date)
    TESTS_BEGUN.unlink()


def remove_half_installed() -> None:
    """Make pip reinstall what an interrupted add_test_tools may have installed in part.

    For pip a .dist-info folder means that a distribution is installed, but the folder can exist before the other files.
    """
    if TESTS_BEGUN.exists():
        complete = TESTS_BEGUN.read_text().splitlines()
        for path in distributions():
            if path.name not in complete:
                shutil.rmtree(path)
        TESTS_BEGUN.unlink()


def distributions() -> list[Path]:
    """Return the .dist-info folders of the distributions in .venv."""
    return sorted(VENV.glob("lib/python3*/site-packages/*.dist-info"))


def pip_install(what: list[str | Path], lock: IO[str]) -> None:
    """Install distributions in the versions of constraints.txt."""
    options: list[str | Path] = ["--no-input", "--disable-pip-version-check", "--constraint", CONSTRAINTS]
    run([PYTHON, "-m", "pip", "install", *options, *what], lock)


def run(command: list[str | Path], lock: IO[str]) -> None:
    """Run a command that holds the lock; report its large downloads, and its last lines if it fails."""
    environment = os.environ | {"PIP_USER": "0"}  # a user who sets it has another Python in mind
    lines: deque[str] = deque(maxlen=15)
    offline = False
    with subprocess.Popen(
        command, stdin=lock, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=environment,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line.rstrip())
            offline = offline or any(sign in line for sign in NETWORK_ERRORS)
            if download := LARGE_DOWNLOAD.match(line):
                say(" ".join(("downloading", *download.groups())))
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
    raise SetupError("the step above failed; correct what it names, then run bin/setup")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
