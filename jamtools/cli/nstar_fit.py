"""jam-nstar fit: the scaling of N* with P from any number of searches, its bound, and the jump of N_Δ/N from runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import Sources, file_option, integer_option, real_option
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import confidence
from jamtools.cli.nstar_messages import print_fit, print_jumps
from jamtools.cli.nstar_plan import plan_cells
from jamtools.errors import InputError

if TYPE_CHECKING:
    from jamtools.transition.search_record import SearchRecord


@grouped
def fit(
    files: Sources = None,
    *,
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
    streams: Streams,
) -> None:
    """Fit the slope of log N* against log P, and P/N*, over any number of search results.

    \b
    Example:
      jam-nstar fit nstar-*.jsonl | jq .slope
      jam-nstar fit nstar-*.jsonl spectra.safetensors | jq .against
      jam-nstar fit runs-*.safetensors | jq '.jump[].P_over_N'

    Spectra of jammed runs, given with the searches, add the measured bound P/N* = C0 - N_c/N. Runs of a sweep, with
    or without searches, add the jump of N_Δ/N and the P/N at which it happens.
    """
    session = Session("jam-nstar", streams)
    from jamtools.transition import jump, scaling

    inputs = _read(files or ["-"])
    if inputs.runs and not inputs.searches and (plan or time):
        raise InputError(f"got runs alone with --{'plan' if plan else 'time'}, expected searches beside them")
    planned = plan_cells(plan) if plan else None
    if inputs.spectra and not inputs.searches:
        raise InputError("got spectra alone, expected searches beside them; add what jam-nstar search prints")
    result: dict[str, Any] = {"kind": "nstar-jump"}
    if inputs.searches or not inputs.runs:
        result = scaling.fit_scaling(inputs.searches, level, planned, inputs.spectra, time)
    if inputs.runs:
        result["jump"] = [sweep.as_dict() for sweep in jump.jumps(inputs.runs, level)]
    session.write_json([result])
    if "slope" in result:
        print_fit(session, result)
    print_jumps(session, result.get("jump", []))


@dataclass(frozen=True)
class Inputs:
    """JSON lines of searches, and the metadata of runs and of spectra."""

    searches: list[SearchRecord] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    spectra: list[dict[str, Any]] = field(default_factory=list)


def _read(sources: Iterable[str]) -> Inputs:
    """Reads all sources. Raises InputError for an artefact of another kind, or without the fields of its kind."""
    from jamtools.io.artefact import open_any
    from jamtools.io.streams import describe
    from jamtools.records import RUN_FIELDS, SPECTRUM_FIELDS, check_fields

    inputs = Inputs()
    for source in sources:
        opened = open_any(source, text=True)
        if isinstance(opened, list):
            inputs.searches.extend(cast("list[SearchRecord]", opened))
        elif opened.kind == "runs":
            for info in opened.infos:
                check_fields(info, RUN_FIELDS, "run")
            inputs.runs.extend(opened.infos)
        elif opened.kind == "spectra":
            for info in opened.infos:
                check_fields(info, SPECTRUM_FIELDS, "spectrum")
            inputs.spectra.extend(opened.infos)
        else:
            kind = f"a {opened.kind}" if opened.kind == "dataset" else opened.kind
            raise InputError(
                f"{describe(source)}got {kind}, expected searches; make them with jam-nstar search"
            )
    return inputs
