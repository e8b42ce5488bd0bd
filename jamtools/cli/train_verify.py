"""jam-train --verify: checks the certificates of runs again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jamtools.cli.common.groups import Arithmetic
from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session
from jamtools.cli.train_ends import UNMET_CODE

if TYPE_CHECKING:
    from jamtools.io.read import Member


def verify_runs(session: Session, source: str, where: str | None, threads: int, require: str | None) -> int:
    """Recomputes each certificate of a file from theta and the data alone, and writes JSON lines.

    Returns the exit code: UNMET_CODE when certificates are required and one of them does not hold.
    """
    members, _ = read_members(session, [source], where)
    array_size = max((m.data.P * m.run.info["n_parameters"] for m in members), default=0)
    session.torch_setup(Arithmetic("cpu", "float64", threads), array_size)
    records = []
    with session.progress(session.command, len(members)) as update:
        for i, member in enumerate(members):
            update(i, f"{i} of {len(members)} runs finished, {member.name} is next")
            records.append(_verification(member))
    session.write_json(records)
    _print_verifications(session, records)
    held = all(record["holds"] and record["certified"] for record in records)
    return UNMET_CODE if require and not held else 0


def _verification(member: Member) -> dict[str, Any]:
    """The JSON line of a run."""
    from jamtools.minima.verification import verify

    with member.naming():
        verification = verify(member.run, member.data)
    info = member.run.info
    return {
        "kind": "verification",
        "run": member.name,
        **{name: info[name] for name in ("width", "depth", "activation", "P", "seed", "status")},
        "claimed": info["certified"],
        "certified": verification.certificate.certified,
        "holds": verification.holds,
        "findings": list(verification.findings),
        "certificate": verification.certificate.fields(),
    }


def _print_verifications(session: Session, records: Sequence[dict[str, Any]]) -> None:
    """A table, and a note for each finding."""
    session.records_table("verification", records)
    for record in records:
        for finding in record["findings"]:
            session.note(f"{record['run']}: {finding}")
