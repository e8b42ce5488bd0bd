"""What jam-nstar prints on stderr about N* and its scaling: tables, and notes in words."""

from __future__ import annotations

from typing import Any

from jamtools.cli.common.session import Session

#: How many searches one note names.
SEARCHES_NAMED = 3

#: Fields of a fit, besides its data, that the table of several fits has where they differ.
DIFFERING = (
    "depths", "activation", "batch_norm", "no_bias", "loss", "success", "certify", "keep_dead", "optimizer",
    "protocol", "steps", "lr", "decay", "init", "momentum", "batch",
)  # fmt: skip

#: Headings of the numbers in that table.
FIT_COLUMNS = ("d log N*/d log P", "from", "to", "P/N*", "from", "to")

#: Depths differ significantly if the p-value is below this.
SIGNIFICANT = 0.05


def print_search(session: Session, records: list[dict[str, Any]]) -> None:
    """A table with a row for each record; notes on what is less precise than asked, and on undecided trials."""
    patterns = any(record["vary"] == "patterns" for record in records)
    headings = {"P": "P*", "N*": "N", "median N": "median P"} if patterns else {}
    session.records_table("nstar", records, headings=headings)
    for record in records:
        if not record["precise"]:
            session.note(_why_imprecise(record))
    dead = sum(record["n_dead"] for record in records)
    if dead:
        used = "count as failures" if records[0].get("keep_dead") else "are left out"
        session.note(
            f"{dead} trial(s) ended dead and {used}: in some layer no neuron is active at what they do not fit"
        )
    undecided = sum(record["n_undecided"] for record in records)
    if undecided:
        session.note(f"{undecided} trial(s) ended undecided, {_what_decides(records[0])}")


def _why_imprecise(record: dict[str, Any]) -> str:
    """Why a record is less precise than asked, and what to do."""
    patterns, made = record["vary"] == "patterns", f"{len(record['trials'])} trial(s)"
    where = f"width {record['width']}" if patterns else f"P {record['P']}"
    if record["median"] is not None:
        return f"{where}: less precise than {record['precision']:g} after {made}; give more --trials"
    outcomes = {trial["outcome"] for trial in record["trials"]}
    if not record.get("keep_dead") and "dead" in outcomes and outcomes <= {"dead", "success", "undecided"}:
        return f"{where}: every trial that failed is dead in {made}, so that N* is only an upper bound; more P may help"
    outcomes -= {"dead"}
    if not outcomes - {"success", "undecided"} and "undecided" in outcomes:
        return f"{where}: no trial failed for certain in {made}, so that N* has no lower end; give more --steps or --certify"
    if patterns and record["P"]:
        return f"{where}: more than the dataset's {record['max_P']} patterns are fitted; make a larger one"
    if patterns or "success" in outcomes:
        return f"{where}: no threshold in {made}; give more --trials"
    widest = max(trial["width"] for trial in record["trials"])
    return f"{where}: no success up to width {widest} in {made}; give more --trials, --steps or --max-width"


def _what_decides(record: dict[str, Any]) -> str:
    """What undecided trials mean, and what may decide them."""
    if record["certify"] or record["optimizer"] == "newton":
        return "neither satisfied nor certified to be stuck: the interval allows for both"
    certify = ", and --certify most of them" if record["loss"] == "hinge" else ""
    return (
        f"with their steps used up: the interval allows for both outcomes; more --steps decide them{certify}"
    )


def print_fits(session: Session, results: list[dict[str, Any]]) -> None:
    """A table of the only fit; of several fits a table with a row for each, and the notes of each."""
    for result in results:
        if result.get("pooled"):
            values = "; ".join(
                f"{name} ({', '.join(map(str, found))})" for name, found in result["pooled"].items()
            )
            session.note(f"pooled in one fit: {values}")
    if len(results) == 1:
        print_fit(session, results[0])
        return
    differing = [name for name in DIFFERING if len({str(result.get(name)) for result in results}) > 1]
    for i, result in enumerate(results):
        if i:  # the searches of the plan that are missing belong to no fit
            result = {name: value for name, value in result.items() if name != "missing"}
        words = ", ".join(
            str(result[name]) for name in ("dataset", *differing) if result.get(name) is not None
        )
        _print_notes(session, result, f"{words or 'unnamed data'}: ")
    if results:
        session.table(
            ("data", *differing, "points", *FIT_COLUMNS),
            [
                (
                    result["dataset"], *(result.get(name) for name in differing), result["n_points"],
                    result["slope"], *(result["slope_interval"] or (None, None)),
                    result["P_over_N"], *(result["P_over_N_interval"] or (None, None)),
                )
                for result in results
            ],
        )  # fmt: skip


def print_fit(session: Session, result: dict[str, Any]) -> None:
    """A table of the numbers with their intervals; notes on missing and repeated searches, depths and known lines."""
    _print_notes(session, result)
    bound = result.get("bound")
    session.table(
        ("", "value", "from", "to"),
        [
            ("d log N*/d log P", result["slope"], *(result["slope_interval"] or (None, None))),
            ("P/N*", result["P_over_N"], *result["P_over_N_interval"]),
            *([("C0 - N_c/N", bound["P_over_N"], *(bound["interval"] or (None, None)))] if bound else []),
        ],
        title=", ".join(filter(None, [result["dataset"], f"{result['n_points']} point(s)"])),
    )
    if result.get("bound_refused"):
        session.note(f"no bound C0 - N_c/N: {result['bound_refused']}")
    if bound and bound["left_out"]:
        left_out = ", ".join(f"{n} {reason}" for reason, n in bound["left_out"].items())
        session.note(f"C0 - N_c/N is of {bound['n_runs']} jammed run(s); left out: {left_out}")
    lines = [
        f"{distance:+.1f} from {line}" for line, distance in result["against"].items() if distance is not None
    ]
    session.note(f"log P/N* in standard errors: {', '.join(lines)}")


def _print_notes(session: Session, result: dict[str, Any], prefix: str = "") -> None:
    """Notes on missing and repeated searches, on open intervals, and on the depths."""
    if not result["n_points"]:
        session.note(f"{prefix}none of {result['n_without']} searches found an N*")
    _print_unmatched(session, result)
    if result.get("n_open"):
        session.note(
            f"{prefix}{result['n_open']} N* with an open interval, which has no weight in the fit; give them more --trials"
        )
    _print_depths(session, result.get("depth"), prefix)


def _print_unmatched(session: Session, result: dict[str, Any]) -> None:
    """Notes on searches of the plan that are missing, and on searches that were given twice."""
    for name, words in (("missing", "not there"), ("duplicates", "given more than once")):
        searches = [
            f"P {cell['P']} depth {cell['depth']} seed {cell['seed']}" for cell in result.get(name, [])
        ]
        if searches:
            n_more = len(searches) - SEARCHES_NAMED
            more = f" and {n_more} more" if n_more > 0 else ""
            session.note(
                f"{len(searches)} of the searches {words}: {'; '.join(searches[:SEARCHES_NAMED])}{more}"
            )


def _print_depths(session: Session, depth: dict[str, Any] | None, prefix: str = "") -> None:
    """A note on P/N* of each depth, where there are several."""
    if depth and depth["p_value"] is not None:
        verdict = "differ" if depth["p_value"] < SIGNIFICANT else "do not differ significantly"
        ratios = ", ".join(f"{ratio:.3g} at L = {L}" for L, ratio in depth["P_over_N"].items())
        session.note(f"{prefix}depths {verdict} (p = {depth['p_value']:.2g}): P/N* = {ratios}")


def print_jumps(session: Session, jumps: list[dict[str, Any]]) -> None:
    """A table with a row for each sweep."""
    if jumps:
        session.records_table("nstar-jump", jumps, ("data",), title="the jump of N_Δ/N")
