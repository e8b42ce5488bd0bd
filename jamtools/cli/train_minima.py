"""Minima: how a run ended and whether that is certified, runs finished and certificates verified.

What jam-train does with runs that are there already, and what it says of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from jamtools.cli.common.options import given, refuse
from jamtools.cli.common.resuming import Keeping
from jamtools.cli.common.session import Session, shown
from jamtools.errors import InputError
from jamtools.machine import available_cores

if TYPE_CHECKING:
    from jamtools.io.read import Member
    from jamtools.records import Run, Runs
    from jamtools.training.job import Job, Place

#: Exit code where --require asked for another end.
UNMET = 3

#: What may stand beside --finish and --verify.
ALWAYS = {"output", "quiet", "debug", "version", "require", "threads"}

KEPT = {"checkpoint", "checkpoint_every", "resume", "time_limit"}

BESIDE = {
    "finish": ALWAYS | KEPT | {"finish", "steps", "measurements", "device", "dtype"},
    "verify": ALWAYS | {"verify"},
}


def check_mode(context: typer.Context, require: str | None) -> None:
    """A usage error for options that have no meaning beside --finish or --verify."""
    typed = given(context)
    for mode, beside in BESIDE.items():
        if mode in typed:
            why = f"--{mode}, which takes its networks and patterns from the runs"
            refuse(context, sorted(set(typed) - beside), why)
    if "verify" in typed and require not in (None, "certified"):
        raise typer.BadParameter(f"got --require {require} with --verify, expected --require certified")


def unmet(runs: Sequence[Run], required: str | None) -> int:
    """The exit code: UNMET when a run ended otherwise than required."""
    return UNMET if required and not all(_meets(run, required) for run in runs) else 0


def _meets(run: Run, required: str) -> bool:
    if required == "certified":
        return run.info["certified"] is True
    # a satisfied run sits at L = 0, where the gradient vanishes
    return run.info["status"] in ((required, "satisfied") if required == "stationary" else (required,))


def yes_or_no(value: bool | None) -> str | None:
    """As a table shows it."""
    return None if value is None else "yes" if value else "no"


def tell_obstacles(session: Session, runs: Sequence[Run]) -> None:
    """A note for each run that was to be certified and is not."""
    for i, run in enumerate(runs):
        if run.info["certified"] is False:
            obstacle = (run.info.get("certificate") or {}).get("obstacle") or "it did not converge"
            session.note(f"r{i:04d} ({_cell(run)}) is not certified: {obstacle}")


def _cell(run: Run) -> str:
    return f"width {run.info['width']}, P {run.info['P']}, seed {run.info['seed']}"


def finish_runs(
    session: Session,
    keeping: Keeping,
    source: str,
    where: tuple[str, str, int],
    options: dict[str, Any],
    require: str | None,
) -> int:
    """Each run of a file goes on to the minimum of its basin; where: device, dtype and threads."""
    from jamtools.io.read import read_runs
    from jamtools.io.write import runs_bytes
    from jamtools.records import Runs
    from jamtools.training.job import Place

    runs, provenance = read_runs(source)
    numbers = max((run.info["P"] * run.info["n_parameters"] for run in runs.runs), default=0)
    device, dtype, threads = where
    place = Place(*session.torch_setup(device, dtype, threads, numbers), threads or available_cores())
    finished = _finished(session, keeping, runs, place, options)
    session.write(runs_bytes(Runs(runs.dataset, tuple(finished)), session.provenance(provenance)))
    keeping.done()
    _tell_finished(session, finished)
    return unmet(finished, require)


def _finished(
    session: Session, keeping: Keeping, runs: Runs, place: Place, options: dict[str, Any]
) -> list[Run]:
    """In their order; one that diverged stays as it is, since it is in no basin."""
    import numpy as np

    from jamtools import protocols

    ended = {i: _job(runs, run) for i, run in enumerate(runs.runs) if np.isfinite(run.theta).all()}
    if not ended:
        raise InputError(f"got {len(runs.runs)} run(s), all of them diverged, expected one that is finite")
    for i, run in enumerate(runs.runs):
        if i not in ended:
            session.note(f"r{i:04d} ({_cell(run)}) diverged: there is nothing to finish, it stays as it is")
    snapshots = any("theta" in run.history for run in runs.runs)  # a history goes on as it began
    settings = protocols.with_options(
        protocols.Settings(), optimizer="newton", snapshots=snapshots, **_objective(runs.runs), **options
    )
    found = dict(zip(ended, keeping.train(session, list(ended.values()), settings, place)))
    return [found.get(i, run) for i, run in enumerate(runs.runs)]


def _job(runs: Runs, run: Run) -> Job:
    from jamtools.network.architecture import Architecture
    from jamtools.training.job import Job

    return Job(runs.patterns(run), Architecture.of(run.info), run.info["seed"], run)


def _objective(runs: Sequence[Run]) -> dict[str, Any]:
    """Loss and margin, which are those of the runs: one for all of a file."""
    fields: dict[str, Any] = {}
    for name in ("loss", "epsilon"):
        values = sorted({run.info[name] for run in runs})
        if len(values) > 1:
            raise InputError(
                f"got runs of {name} {' and '.join(map(str, values))}, expected one; finish them file by file"
            )
        fields[name] = values[0]
    return fields


def _tell_finished(session: Session, runs: Sequence[Run]) -> None:
    columns = ("run", "width", "P", "seed", "N", "N_Δ", "loss", "‖ΔW‖/‖W‖", "steps", "status", "certified")
    rows = []
    for i, run in enumerate(runs):
        info, done = run.info, run.info.get("finish") or {}
        rows.append(
            (f"r{i:04d}", info["width"], info["P"], info["seed"], info["n_effective_expected"],
             _change(done.get("n_unsatisfied_before"), info["n_unsatisfied"]),
             _change(done.get("final_loss_before"), info["final_loss"]), done.get("relative_change"),
             done.get("steps"), info["status"], yes_or_no(info["certified"]))
        )  # fmt: skip
    session.table(columns, rows)
    tell_obstacles(session, runs)


def _change(before: float | None, after: float | None) -> str:
    return f"{shown(before)} → {shown(after)}"


def verify_runs(session: Session, source: str, threads: int, require: str | None) -> int:
    """Each certificate of a file anew, from theta and the data alone, as JSON lines."""
    from jamtools.io.read import read_ensemble

    members, _ = read_ensemble([source])
    numbers = max((m.data.P * m.run.info["n_parameters"] for m in members), default=0)
    session.torch_setup("cpu", "float64", threads, numbers)
    records = []
    with session.progress(session.command, len(members)) as update:
        for i, member in enumerate(members):
            update(i, member.name)
            records.append(_verified(member))
    session.write_json(records)
    _tell_verified(session, records)
    return UNMET if require and not all(record["holds"] and record["certified"] for record in records) else 0


def _verified(member: Member) -> dict[str, Any]:
    from jamtools.minima.verification import verify

    try:
        found = verify(member.run, member.data)
    except InputError as error:
        raise InputError(f"{member.name}: {error}") from error
    info = member.run.info
    return {
        "kind": "verification",
        "run": member.name,
        **{name: info[name] for name in ("width", "depth", "activation", "P", "seed", "status")},
        "claimed": info["certified"],
        "certified": found.certificate.certified,
        "holds": found.holds,
        "findings": list(found.findings),
        "certificate": found.certificate.fields(),
    }


def _tell_verified(session: Session, records: Sequence[dict[str, Any]]) -> None:
    columns = ("run", "width", "P", "seed", "status", "claimed", "certified", "holds", "N_Δ", "N_c", "Clarke/scale",
               "λ_min/λ_max")  # fmt: skip
    rows = []
    for record in records:
        one, verdicts = record["certificate"], (record[name] for name in ("claimed", "certified", "holds"))
        rows.append(
            (*(record[name] for name in ("run", "width", "P", "seed", "status")), *map(yes_or_no, verdicts),
             one["n_unsatisfied"], one["n_cusps"], _over(one["gradient"], one["scale"]),
             _over(one["smallest_curvature"], one["largest_curvature"]))
        )  # fmt: skip
    session.table(columns, rows)
    for record in records:
        for finding in record["findings"]:
            session.note(f"{record['run']}: {finding}")


def _over(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None
