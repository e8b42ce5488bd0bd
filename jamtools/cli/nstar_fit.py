"""jam-nstar fit: the scaling of N* with P from any number of searches, its bound, and the jump of N_Δ/N from runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from jamtools.cli.common.options import Debug, Output, Quiet, Sources, Version, confidence, positive
from jamtools.cli.common.session import Session
from jamtools.cli.nstar_plan import plan_cells
from jamtools.cli.nstar_tables import tell_fit, tell_jumps
from jamtools.errors import InputError


def fit(
    files: Sources = None,
    level: Annotated[
        float, typer.Option("--level", parser=confidence, metavar="X", help="Confidence level.")
    ] = 0.95,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="FILE", help="The plan that the searches are of: says which are missing."
        ),
    ] = None,
    time: Annotated[
        int | None,
        typer.Option("--time", parser=positive, metavar="N", help="N* after N steps: one of search --times."),
    ] = None,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Fit the slope of log N* against log P, and P/N*, over any number of search results.

    \b
    Example:
      jam-nstar fit nstar-*.jsonl | jq .slope
      jam-nstar fit nstar-*.jsonl spectra.safetensors | jq .against
      jam-nstar fit runs-*.safetensors | jq '.jump[].P_over_N'

    Spectra of jammed runs beside the searches give the bound P/N* = C0 - N_c/N as measured. Runs of a sweep, with
    searches or without, give the jump of N_Δ/N and the P/N at which it happens.
    """
    session = Session("jam-nstar", output, quiet)
    from jamtools.transition import jump, scaling

    read = _read(files or ["-"])
    if read["runs"] and not read["searches"] and (plan or time):
        raise InputError(f"got runs alone with --{'plan' if plan else 'time'}, expected searches beside them")
    planned = plan_cells(plan) if plan else None
    result: dict[str, Any] = {"kind": "nstar-jump"}
    if read["spectra"] and not read["searches"]:
        raise InputError("got spectra alone, expected searches beside them; add what jam-nstar search prints")
    if read["searches"] or not read["runs"]:
        result = scaling.fit(read["searches"], level, planned, read["spectra"], time)
    if read["runs"]:
        result["jump"] = jump.jumps(read["runs"], level)
    session.write_json([result])
    if "slope" in result:
        tell_fit(session, result)
    tell_jumps(session, result.get("jump", []))


def _read(sources: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """What each source holds: objects of searches, and the metadata of runs and spectra."""
    from jamtools.io.artefact import open_any
    from jamtools.records import RUN_FIELDS, SPECTRUM_FIELDS, check_fields

    read: dict[str, list[dict[str, Any]]] = {"searches": [], "runs": [], "spectra": []}
    for source in sources:
        opened = open_any(source, text=True)
        if isinstance(opened, list):
            read["searches"] += opened
            continue
        if opened.kind not in read:
            opened.expect("searches")
        for info in opened.infos:
            check_fields(
                info, RUN_FIELDS if opened.kind == "runs" else SPECTRUM_FIELDS, opened.kind.rstrip("s")
            )
        read[opened.kind] += opened.infos
    return read
