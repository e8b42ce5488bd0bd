"""What all tests share."""

import os
from pathlib import Path

# The nets of the tests are small, and two threads that wait for each other on a busy machine cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A suite that decides whether a change lands must not fail by the luck of the draw; by hand it may look further.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file share their fixtures, and those of the contract its road: each group keeps to one process."""
    for item in items:
        folder, path = item.path.parent.name, str(item.path)
        item.add_marker(pytest.mark.xdist_group(folder if folder == "contract" else path))
    _skip_gpu(items)


def _skip_gpu(items: list[pytest.Item]) -> None:
    """Skip the tests marked gpu where there is no CUDA."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch  # takes seconds, so only where a test asks for it

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs CUDA, and torch.cuda.is_available() says no"))


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every artefact of `contract.ROAD`, made once by its command line on quiet streams."""
    from tests.support.contract import ROAD, STAGES, side_by_side

    folder = tmp_path_factory.mktemp("road")
    for names in STAGES:
        lines = [f"{ROAD[name]} --quiet > {name}" for name in names]
        for line, done in zip(lines, side_by_side(lines, folder)):
            assert (done.returncode, done.stderr) == (0, ""), f"{line}: {done.stderr}"
    return folder
