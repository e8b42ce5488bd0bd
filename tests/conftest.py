"""The settings and fixtures of all tests."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# The networks of the tests are small: on a busy machine, two threads that wait for each other are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Where the suite decides about a change, its result must not depend on random examples. By hand it may try new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


#: Files whose few tests take longest. They run first, or one process would wait for them at the end.
SLOWEST_FILES = {"test_slurm.py", "test_readme.py", "test_resuming.py", "test_compilation.py"}


#: A training of one step, which compiles the kernel.
FIRST_TRAINING = """
from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
train(random_sphere(9, 2, 0), Architecture(2, 2, 1), with_options(TrainingOptions(), steps=1), 0)
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compiles the kernel once, before several processes of the tests would compile it at the same time."""
    config = session.config
    is_worker = hasattr(config, "workerinput")
    if config.getoption("numprocesses", 0) and not is_worker and not config.option.collectonly:
        root = Path(__file__).resolve().parent.parent
        subprocess.run([sys.executable, "-c", FIRST_TRAINING], cwd=root)  # a test shows what fails


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Runs the tests of one file in one process, since they share fixtures, and so all tests of tests/contract.

    Marks of the kind xdist_group cannot do it: pytest-xdist 3.8 writes them into node ids, which pytest 9.2 does not read.
    """
    from xdist.scheduler import LoadFileScheduling

    class FolderScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::", 1)[0]
            return "tests/contract" if path.startswith("tests/contract/") else path

    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slowest files first, and skips the tests of a GPU where there is none."""
    items.sort(key=lambda item: item.path.name not in SLOWEST_FILES)
    _skip_gpu(items)


def _skip_gpu(items: list[pytest.Item]) -> None:
    """Skips the tests marked gpu where there is no CUDA."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch  # takes seconds, therefore only where a test needs it

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs CUDA, but torch.cuda.is_available() is False"))


@pytest.fixture(scope="session")
def artefact_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every artefact of `contract.PIPELINE`, made once per session by the command lines there."""
    from tests.support.contract import PIPELINE, STAGES, side_by_side

    folder = tmp_path_factory.mktemp("artefacts")
    for names in STAGES:
        lines = [f"{PIPELINE[name]} --quiet > {name}" for name in names]
        for line, done in zip(lines, side_by_side(lines, folder)):
            assert (done.returncode, done.stderr) == (0, ""), f"{line}: {done.stderr}"
    return folder
