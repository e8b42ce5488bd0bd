"""jam-nstar fit: the scaling of N* with P from any number of searches, its bound, and the jump of N_Δ/N from runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import By, Dead, Sources, Where, file_option, integer_option, real_option
from jamtools.cli.common.selecting import check_by, note_pooled, select
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import confidence
from jamtools.cli.nstar_messages import print_fits, print_jumps
from jamtools.cli.nstar_plan import plan_cells
from jamtools.errors import InputError
from jamtools.io.streams import described, naming

if TYPE_CHECKING:
    from jamtools.io.artefact import Artefact
    from jamtools.transition.search_record import SearchRecord


@grouped
def fit(
    files: Sources = None,
    *,
    where: Where = None,
    level: Annotated[float, real_option("--level", parser=confidence, help="Confidence level.")] = 0.95,
    plan: Annotated[
        str | None,
        file_option(
            "--plan", help="The plan of these searches; the result then lists those that are missing."
        ),
    ] = None,
    time: Annotated[
        int | None,
        integer_option("--time", help="Fit N* after N steps; N is one of the --times of the searches."),
    ] = None,
    dead: Dead = "leave-out",
    by: By = None,
    streams: Streams,
) -> None:
    """Fit the slope of log N* against log P, and P/N*, over any number of search results.

    Searches of other data, networks, losses or dynamics are other groups, each with its own fit: a JSON line and a row of
    the table. Depths are compared within a group. --by says which fields make groups; --by none mixes all of them.

    \b
    Example:
      jam-nstar fit nstar-*.jsonl | jq .slope
      jam-nstar fit mnist.jsonl random.jsonl | jq -c '[.dataset, .P_over_N]'
      jam-nstar fit nstar-*.jsonl spectra.safetensors | jq .against
      jam-nstar fit runs-*.safetensors --where "depth == 3" | jq '.jump[].P_over_N'

    Spectra of jammed runs, given with the searches, add the measured bound P/N* = C0 - N_c/N. Runs of a sweep, with
    or without searches, add the jump of N_Δ/N and the P/N at which it happens: the place from satisfied against jammed
    runs, the height from jammed runs alone. A run that is at no minimum, and a dead one, enter neither.
    """
    session = Session("jam-nstar", streams)
    from jamtools.transition import jump, scaling

    sources = files or ["-"]
    inputs = _read(session, sources, where)
    if inputs.runs and not inputs.searches and (plan or time):
        raise InputError(
            f"{described(sources)}got runs alone with --{'plan' if plan else 'time'}, expected searches beside them"
        )
    planned = plan_cells(plan) if plan else None
    if inputs.spectra and not inputs.searches:
        raise InputError(
            f"{described(sources)}got spectra alone, expected searches beside them; add what jam-nstar search prints"
        )
    with naming(*sources):
        check_by(by, [*inputs.searches, *inputs.runs])
        results: list[dict[str, Any]] = []
        if inputs.searches or not inputs.runs:
            results = scaling.fit_groups(
                inputs.searches, level, planned, inputs.spectra, time, by, dead == "keep"
            )
        fields = jump.SWEEP_FIELDS if by is None else by
        sweeps = [sweep.as_dict() for sweep in jump.jumps(inputs.runs, level, dead == "keep", fields)]
    if len(results) == 1 and sweeps:  # the jump stands beside the only fit, and behind several
        results[0]["jump"] = sweeps
    elif sweeps:
        results.append({"kind": "nstar-jump", "jump": sweeps})
    session.write_json(results)
    print_fits(session, [result for result in results if "slope" in result])
    if by is not None and inputs.runs:
        note_pooled(session, inputs.runs, by)
    print_jumps(session, sweeps)


@dataclass(frozen=True)
class Inputs:
    """JSON lines of searches, and the metadata of runs and of spectra."""

    searches: list[SearchRecord] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    spectra: list[dict[str, Any]] = field(default_factory=list)


def _read(session: Session, sources: Sequence[str], where: str | None) -> Inputs:
    """The records of all sources that fulfil a condition.

    Raises InputError for an artefact of another kind, or without the fields of its kind.
    """
    from jamtools.io.artefact import open_any
    from jamtools.transition.points import check_searches

    opened = [open_any(source, text=True) for source in sources]
    for source, artefact in zip(sources, opened):
        if not isinstance(artefact, list):
            _check_artefact(artefact, source)
    inputs = Inputs()
    for source, records, chosen in zip(sources, opened, select(session, where, opened, sources)):
        if isinstance(records, list):
            searches = [cast("SearchRecord", records[number]) for number in chosen]
            with naming(source):
                check_searches(searches)
            inputs.searches.extend(searches)
        else:
            kept = inputs.runs if records.kind == "runs" else inputs.spectra
            infos = records.infos
            kept.extend(infos[number] for number in chosen)
    return inputs


def _check_artefact(artefact: Artefact, source: str) -> None:
    """Raises InputError unless an artefact has runs or spectra with all fields."""
    from jamtools.io.streams import describe
    from jamtools.record_checks import check_fields
    from jamtools.records import RUN_FIELDS, SPECTRUM_FIELDS

    fields = {"runs": (RUN_FIELDS, "run"), "spectra": (SPECTRUM_FIELDS, "spectrum")}.get(artefact.kind)
    if fields is None:
        kind = f"a {artefact.kind}" if artefact.kind == "dataset" else artefact.kind
        raise InputError(f"{describe(source)}got {kind}, expected searches; make them with jam-nstar search")
    with naming(source):
        for info in artefact.infos:
            check_fields(info, *fields)
