"""The scripts of examples/slurm run on a Slurm of one node: their results, and the effect of a signal."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jamtools.transition.merging import merge
from tests.support.commands import ROOT, jam

SLURM_SCRIPTS = Path(__file__).resolve().parent / "slurm"
GUIDE = (ROOT / "examples" / "slurm" / "README.md").read_text()
SUBMISSION = next(
    block for block in re.findall(r"^```sh\n(.*?)^```$", GUIDE, flags=re.M | re.S) if "sbatch" in block
)
DAEMONS = ["munged", "slurmctld", "slurmd"]
SEARCH = ["data.safetensors", "--lr", "1e-2", "--max-width", "64", "--trials", "12"]
WAIT_SECONDS = 150  # the longest wait for a condition; the machine may be busy

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(300)]


class Cluster:
    """A running Slurm, and folders to submit from. The jam commands of this Python are on the PATH."""

    def __init__(self, state: Path, commands: Path) -> None:
        self.state, self.conf = state, state / "slurm.conf"
        for name in ("nstar", "train", "hessian", "plot"):
            command = commands / f"jam-{name}"
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jamtools.cli.{name} "$@"\n')
            command.chmod(0o755)
        self.environment = os.environ | {
            "SLURM_CONF": str(self.conf),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{commands}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def folder(self, path: Path, patterns: str, seeds: str, steps: str) -> Path:
        """Returns a folder to submit from. It holds data, a plan, and a link to the examples."""
        (path / "sweep").mkdir(parents=True)
        (path / "examples").symlink_to(ROOT / "examples")
        jam("data", "random", "-P", 40, "-d", 4, "--seed", 1, "-o", "data.safetensors", cwd=path, check=True)
        cells = ["--patterns", patterns, "--depths", 1, "--seeds", seeds, "--out", "sweep"]
        jam("nstar", "plan", *cells, "-o", "plan.txt", *SEARCH, "--steps", steps, cwd=path, check=True)
        return path

    def shell(self, script: str, cwd: Path) -> str:
        """Runs a script and returns its standard output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Returns the fields of each job and of each task that Slurm lists."""
        listing = self.shell("scontrol --oneliner show job", self.state)
        return [dict(re.findall(r"(\w+)=(.*?)(?= [\w:/]+=|$)", line)) for line in listing.splitlines()]

    def ended(self, folder: Path) -> list[dict[str, str]]:
        """Waits until no job of a folder is pending or running, and returns these jobs."""

        def mine() -> list[dict[str, str]]:
            return [job for job in self.jobs() if Path(job["WorkDir"]) == folder]

        alive = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"}
        wait_for(lambda: not alive & {job["JobState"] for job in mine()}, lambda: logs(folder) + str(mine()))
        return mine()


def wait_for(condition: Callable[[], object], explanation: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, explanation()
        time.sleep(0.1)


def logs(folder: Path) -> str:
    return "".join(f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.log")))


def records(*paths: Path) -> list[dict]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def records_of(artefact: Path) -> list[dict]:
    return [json.loads(line) for line in jam("show", artefact, check=True).stdout.splitlines()]


def free_port() -> int:
    """Returns the first of two neighbouring ports that are free."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
            except OSError:
                continue
            return first.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in [*DAEMONS, "sbatch"] if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(
            f"needs Slurm, but these programs are missing: {', '.join(missing)}; tests/slurm/install.sh installs it"
        )
    state = tmp_path_factory.mktemp("slurm")
    try:
        started = subprocess.run(
            [SLURM_SCRIPTS / "start-slurm.sh", state, str(free_port())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        if started.returncode:
            pytest.skip(f"Slurm did not start: {started.stdout.strip().splitlines()[-1]}")
        yield Cluster(state, tmp_path_factory.mktemp("bin"))
    finally:
        subprocess.run([SLURM_SCRIPTS / "stop-slurm.sh", state], check=True, timeout=100)


@pytest.fixture(scope="module")
def swept(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A folder from which the three jobs of the guide were submitted, and these jobs after their end."""
    folder = cluster.folder(tmp_path_factory.mktemp("swept") / "a folder", "20,40", "0:3", "5k")
    cluster.shell(SUBMISSION, folder)
    return folder, cluster.ended(folder)


def test_every_task_of_the_three_jobs_completes_without_a_restart(swept):
    folder, jobs = swept
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}, logs(folder)
    tasks = sorted((job["JobName"], job.get("ArrayTaskId", "")) for job in jobs)
    arrays = [(name, str(task)) for name in ("jam-spectra", "jam-sweep") for task in range(1, 7)]
    assert tasks == [("jam-collect", ""), *arrays]
    assert {job["Restarts"] for job in jobs} == {"0"}


def test_the_tasks_together_give_the_result_of_one_process(swept):
    folder, _ = swept
    options = [
        "--patterns",
        "20,40",
        "--depth",
        1,
        "--seeds",
        "0:3",
        "--cold",
        "--steps",
        "5k",
        "-o",
        "one.jsonl",
    ]
    jam("nstar", "search", *SEARCH, *options, cwd=folder, check=True)
    whole = records(folder / "one.jsonl")
    cells = sorted((folder / "sweep").glob("nstar-*-s*.jsonl"))
    assert len(cells) == 6 and all(record["n_star"] for record in whole)
    assert merge(records(*cells)) == (whole, [])
    (fit,) = records(folder / "sweep" / "fit.jsonl")
    assert fit.pop("missing") == fit["duplicates"] == []
    alone = jam("nstar", "fit", "one.jsonl", cwd=folder, check=True)
    assert fit == json.loads(alone.stdout)
    assert [(point["n_star"], point["interval"]) for point in fit["points"]] == [
        (record["n_star"], record["interval"]) for record in whole
    ]


def test_the_collecting_job_draws_a_figure(swept):
    folder, _ = swept
    assert (folder / "sweep" / "nstar.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_spectra_are_of_the_widest_networks_that_failed(swept):
    folder, _ = swept
    cells = sorted((folder / "sweep").glob("nstar-*-s*.jsonl"))
    assert len(cells) == 6
    n_failed = 0
    for cell in cells:
        (search,) = records(cell)
        least, outcomes = search["width"] or math.inf, ("unsatisfied", "stationary")
        failed = [t for t in search["trials"] if t["outcome"] in outcomes and t["width"] < least]
        n_failed += bool(failed)
        if not failed:  # all that failed is dead: there is no jammed network to look at
            assert not cell.with_name(f"{cell.stem}-spectra.safetensors").exists()
            continue
        trial = min(failed, key=lambda t: (-t["width"], t["seed"]))
        for kind in ("jammed", "spectra"):
            (record,) = records_of(cell.with_name(f"{cell.stem}-{kind}.safetensors"))
            outcome = {name: record[name] for name in ("width", "seed", "n_unsatisfied", "final_loss")}
            assert outcome == {name: trial[name] for name in outcome}, "the trial was repeated exactly"
        assert (record["P"], record["n_unsatisfied"] > 0) == (search["P"], True)
        assert 0 <= record["n_negative_H"] <= record["n_negative_Hp"]
    assert n_failed > 0


def test_a_task_that_gets_a_signal_is_requeued_and_gives_the_uninterrupted_result(cluster, tmp_path):
    folder = cluster.folder(tmp_path / "signalled", "40", "1:3", "400k")
    journal = folder / "sweep" / "nstar-L1-P40-s2.journal"
    array = cluster.shell("sbatch --parsable --array=1-2 examples/slurm/sweep.sbatch", folder).strip()
    cluster.shell(f"sbatch --dependency=afterok:{array} examples/slurm/collect.sbatch", folder)
    wait_for(lambda: journal.exists() and len(records(journal)) > 1, lambda: logs(folder))
    cluster.shell(f"scancel --batch --signal=USR1 {array}_2", folder)
    log = folder / f"jam-sweep-{array}_2.log"
    wait_for(lambda: "stopped by SIGUSR1" in log.read_text(), lambda: logs(folder))
    before = journal.read_text()

    jobs = cluster.ended(folder)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}, logs(folder)
    restarts = {job["ArrayTaskId"]: job["Restarts"] for job in jobs if job["JobName"] == "jam-sweep"}
    assert restarts == {"1": "0", "2": "1"}
    assert journal.read_text().startswith(before)
    (search,) = records(folder / "sweep" / "nstar-L1-P40-s2.jsonl")
    _, *trials = records(journal)
    assert sorted(search["trials"], key=str) == sorted(trials, key=str), "each trial was made once"
    assert 1 <= len(before.splitlines()) - 1 < len(trials)
    assert_as_uninterrupted(search, folder)
    (fit,) = records(folder / "sweep" / "fit.jsonl")
    assert (fit["missing"], fit["n_points"]) == ([], 1), "the collection waited for the requeued task"


def assert_as_uninterrupted(search: dict, folder: Path) -> None:
    options = ["--patterns", 40, "--depth", 1, "--seeds", 2, "--cold", "--steps", "400k"]
    assert search == json.loads(jam("nstar", "search", *SEARCH, *options, cwd=folder, check=True).stdout)
