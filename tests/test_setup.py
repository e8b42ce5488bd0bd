"""A clone sets itself up at first use: once, even if several commands start together or one is killed.

The real scripts run on a copy of the clone, without a network. The packages of the running environment take the place
of those that pip would download. Where a test is about a failure of pip, a small script takes the place of pip.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import jamtools

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COPIED = [".ci", "bin", "jamtools", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"]
VERSION = f"jamtools {jamtools.__version__}\n"
TIMEOUT = 60  # seconds, on a busy machine


@dataclass
class Clone:
    """A copy of the clone, and an environment in which its set-up is fast and needs no network."""

    root: Path
    environment: dict[str, str]

    def start(self, *command: str, **changes: str) -> subprocess.Popen[str]:
        """Start a command in its own process group, in another folder than the clone."""
        path, *arguments = command
        return subprocess.Popen(
            [self.root / path, *arguments],
            cwd=self.root.parent,
            env=self.environment | changes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return finish(self.start(*command, **changes))

    @property
    def ready(self) -> Path:
        return self.root / ".venv" / "jamtools-ready"


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with process:
        out, err = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None, f"ended too early: {finish(process).stderr}"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def copy_of_the_clone(root: Path, *packages: Path) -> Clone:
    """Copy the files of a clone; `packages` are folders with the dependencies."""
    root.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, root / name)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    light = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip inverts this variable: 0 is --no-build-isolation
    }
    return Clone(root, mine | light)


def empty_venv(clone: Clone) -> None:
    """Give the clone a .venv without pip, as a user may have made it; that is faster than one with pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone.root / ".venv"], check=True)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to everything that is installed here except jamtools."""
    folder = tmp_path_factory.mktemp("packages")
    for place in sys.path:
        if Path(place).name in ("site-packages", "dist-packages"):
            for entry in Path(place).iterdir():
                if "jamtools" not in entry.name and not (folder / entry.name).exists():
                    (folder / entry.name).symlink_to(entry)
    return folder


@dataclass
class FirstUse:
    """A clone, and the results of eight commands that were started in it together."""

    clone: Clone
    results: list[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def first_use(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> FirstUse:
    folder = tmp_path_factory.mktemp("first use")
    clone = copy_of_the_clone(folder / "a clone, µ", packages)
    (folder / "jam-show").symlink_to(clone.root / "bin" / "jam-show")
    (folder / "short").symlink_to("jam-show")
    commands = ["bin/jam-show"] * 4 + ["bin/jam-data"] * 2 + ["../jam-show", "../short"]
    started = [clone.start(command, "--version") for command in commands]
    return FirstUse(clone, [finish(process) for process in started])


def test_of_eight_commands_started_together_one_sets_up_and_all_succeed(first_use: FirstUse) -> None:
    messages = [result.stderr for result in first_use.results]
    assert [result.returncode for result in first_use.results] == [0] * 8, messages
    assert sum("setting up .venv with" in message for message in messages) == 1
    assert sum(message.count("waiting for it") for message in messages) <= 7


def test_the_first_use_prints_only_data_on_stdout(first_use: FirstUse) -> None:
    assert [result.stdout for result in first_use.results] == [VERSION] * 8


def test_a_command_after_the_set_up_prints_no_message(first_use: FirstUse) -> None:
    before = first_use.clone.ready.stat()
    for command in ("bin/jam-show", "../jam-show", "../short"):
        again = first_use.clone.run(command, "--version")
        assert (again.returncode, again.stdout, again.stderr) == (0, VERSION, "")
    after = first_use.clone.ready.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_test_tools_are_installed_into_the_existing_environment(
    first_use: FirstUse, tmp_path: Path
) -> None:
    clone = first_use.clone
    kept = clone.root / ".venv" / "mine"
    kept.touch()
    command = clone.root / ".venv" / "bin" / "jam-show"
    inode = command.stat().st_ino
    result = finish(
        subprocess.Popen(
            ["bash", clone.root / ".ci" / "run", "--version"],
            cwd=tmp_path,
            env=clone.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"pytest {pytest.__version__}\n"
    assert kept.exists() and command.stat().st_ino == inode
    assert clone.ready.read_text().splitlines()[1] == "test"


def test_an_interrupted_installation_of_the_test_tools_is_repeated(first_use: FirstUse) -> None:
    clone = first_use.clone
    clone.ready.write_text(clone.ready.read_text().replace("\ntest\n", "\nplain\n"))
    (site,) = clone.root.glob(".venv/lib/python3*/site-packages")
    installed = "\n".join(path.name for path in site.glob("*.dist-info"))
    (clone.root / ".venv" / "jamtools-tests-begun").write_text(installed)
    half = site / f"pytest-{pytest.__version__}.dist-info"  # pip would believe that it is pytest
    half.mkdir()
    (half / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pytest\nVersion: {pytest.__version__}\n")
    assert clone.run("bin/setup", "test").returncode == 0
    assert not half.exists()
    assert clone.run("bin/jam-show", "--version").stdout == VERSION


def test_changed_requirements_are_installed_into_the_existing_environment(first_use: FirstUse) -> None:
    clone = first_use.clone
    kept = clone.root / ".venv" / "mine"
    kept.touch()
    before = clone.ready.read_text()
    pyproject = clone.root / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text(encoding="utf-8").replace("numpy>=2.0", "numpy>=2"), encoding="utf-8"
    )
    os.utime(pyproject, (time.time() + 2,) * 2)  # a shell may compare times in whole seconds
    result = clone.run("bin/jam-show", "--version")
    assert (result.returncode, result.stdout) == (0, VERSION), result.stderr
    assert "setting up" in result.stderr and kept.exists()
    assert clone.ready.read_text() != before
    assert clone.run("bin/jam-show", "--version").stderr == ""


def test_a_venv_made_for_another_place_is_not_used(first_use: FirstUse, tmp_path: Path) -> None:
    clone = copy_of_the_clone(tmp_path / "clone")
    shutil.copytree(first_use.clone.root / ".venv", clone.root / ".venv", symlinks=True)
    result = clone.run(
        "bin/jam-show", "--version", PATH=str(tmp_path)
    )  # without a Python the set-up ends early
    assert (result.returncode, result.stdout) == (1, "")
    assert "found no Python" in result.stderr


@pytest.mark.slow
def test_a_set_up_killed_at_any_stage_is_repeated(packages: Path, tmp_path: Path) -> None:
    clone = copy_of_the_clone(tmp_path / "clone", packages)
    empty_venv(clone)
    venv, log = clone.root / ".venv", tmp_path / "log"
    begun, python, ruin = venv / "jamtools-begun", venv / "bin" / "python", venv / "ruin"
    stages: list[tuple[Callable[[], bool], Callable[[int, int], None]]] = [
        (log.exists, os.kill),  # pip is running, and survives
        (lambda: begun.exists() and not ruin.exists(), os.killpg),
        (lambda: python.exists() and not ruin.exists(), os.killpg),  # ensurepip is running
    ]
    for reached, kill in stages:
        process = clone.start("bin/setup", PIP_LOG=str(log))
        wait_for(reached, process)
        kill(process.pid, signal.SIGKILL)
        assert finish_killed(process) == -signal.SIGKILL
        assert begun.exists() and not clone.ready.exists()
        ruin.touch()
    result = clone.run("bin/jam-show", "--version")
    assert (result.returncode, result.stdout) == (0, VERSION), result.stderr
    assert not ruin.exists() and not list(clone.root.glob(".venv.old-*"))


def finish_killed(process: subprocess.Popen[str]) -> int:
    """Wait for a killed process without reading what its surviving children may still print."""
    code = process.wait(TIMEOUT)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    return code


def pip_that(folder: Path, text: str) -> Path:
    """A folder with a script that takes the place of pip."""
    folder.mkdir()
    (folder / "pip.py").write_text(text)
    return folder


def test_a_pip_that_outlives_its_set_up_keeps_the_lock(tmp_path: Path) -> None:
    pip = pip_that(
        tmp_path / "pip",
        "if __name__ == '__main__':\n"
        "    import os, subprocess, sys\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    open(os.environ['PIDS'], 'w').write(f'{os.getpid()} {child.pid}\\n')\n"
        "    child.wait()\n",
    )
    clone = copy_of_the_clone(tmp_path / "clone", pip)
    empty_venv(clone)
    pids = tmp_path / "pids"
    process = clone.start("bin/setup", PIDS=str(pids))
    wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"), process)
    os.kill(process.pid, signal.SIGKILL)
    assert finish_killed(process) == -signal.SIGKILL
    with open(clone.root / ".venv.lock", "a") as lock:
        for pid in map(int, pids.read_text().split()):
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(pid, signal.SIGKILL)
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_a_failure_of_pip_is_printed_with_a_remedy(tmp_path: Path) -> None:
    pip = pip_that(
        tmp_path / "pip", "if __name__ == '__main__': raise SystemExit('ERROR: the disk is on fire')"
    )
    clone = copy_of_the_clone(tmp_path / "clone", pip)
    empty_venv(clone)
    result = clone.run("bin/jam-show", "--version")
    assert (result.returncode, result.stdout) == (1, "")
    assert "ERROR: the disk is on fire\n" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("then run bin/setup")
    assert not clone.ready.exists()


def test_without_a_network_waiting_commands_do_not_repeat_the_set_up(tmp_path: Path) -> None:
    pip = pip_that(
        tmp_path / "pip",
        "if __name__ == '__main__':\n"
        "    import time\n"
        "    print('WARNING: Retrying (Retry(total=4', flush=True)\n"
        "    time.sleep(2)\n"
        "    raise SystemExit('ERROR: no matching distribution')\n",
    )
    clone = copy_of_the_clone(tmp_path / "clone", pip)
    empty_venv(clone)
    first = clone.start("bin/jam-data", "--version")
    wait_for((clone.root / ".venv" / "jamtools-begun").exists, first)
    second = clone.start("bin/jam-show", "--version")
    results = [finish(process) for process in (first, second)]
    assert [(result.returncode, result.stdout) for result in results] == [(1, "")] * 2
    last = [result.stderr.splitlines()[-1] for result in results]
    assert last[0] == last[1] and "connect to the network" in last[0]
    assert sum("setting up .venv with" in result.stderr for result in results) == 1


def test_a_clone_without_a_python_is_reported_in_one_line(tmp_path: Path) -> None:
    clone = copy_of_the_clone(tmp_path / "clone")
    result = clone.run("bin/jam-show", "--version", PATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("jamtools: found no Python") and result.stderr.count("\n") == 1


def test_a_clone_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    clone = copy_of_the_clone(tmp_path / "clone")
    (clone.root / ".venv.lock").mkdir()  # unlike a file mode, this stops root as well
    result = clone.run("bin/jam-show", "--version")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("jamtools: cannot set up .venv") and result.stderr.count("\n") == 1


def test_every_command_has_a_launcher() -> None:
    assert {path.name for path in (ROOT / "bin").glob("jam*")} == set(PROJECT["scripts"])


def test_every_requirement_is_pinned() -> None:
    requirements = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert sorted(line.split("==")[0] for line in pins) == sorted(
        {requirement.split(">=")[0] for requirement in requirements}
    )


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
