"""What jam-nstar tells people about N* and its scaling."""

from __future__ import annotations

from typing import Any

from jamtools.cli.common.session import Session


def tell_search(session: Session, records: list[dict[str, Any]]) -> None:
    """A line a record, what is not as precise as asked, and what undecided trials mean."""
    patterns = any(record["vary"] == "patterns" for record in records)
    rows = [
        (
            r["P"], r["width"], r["n_star"], r["median"], *_interval(r), _ratio(r),
            len(r["trials"]), r["n_undecided"], r["total_steps"],
        )
        for r in records
    ]  # fmt: skip
    names = ("P*", "width", "N", "median P") if patterns else ("P", "width", "N*", "median N")
    session.table((*names, "from", "to", "P/N", "trials", "undecided", "steps"), rows)
    for record in records:
        if not record["precise"]:
            session.note(_imprecise(record))
    undecided = sum(record["n_undecided"] for record in records)
    if undecided:
        session.note(f"{undecided} trial(s) ended undecided, {_lacking(records[0])}")


def _ratio(record: dict[str, Any]) -> float | None:
    """P/N at the median."""
    if record["median"] is None or not record["n_star"]:
        return None
    return record["median"] / record["N"] if record["vary"] == "patterns" else record["P"] / record["median"]


def _interval(record: dict[str, Any]) -> tuple[object, object]:
    low, high = record["median_interval"]
    return low or 0, high or "beyond"


def _imprecise(record: dict[str, Any]) -> str:
    """What stands between a record and the precision asked for."""
    patterns, made = record["vary"] == "patterns", f"{len(record['trials'])} trial(s)"
    where = f"width {record['width']}" if patterns else f"P {record['P']}"
    if record["median"] is not None:
        return f"{where}: less precise than {record['precision']:g} after {made}; give more --trials"
    outcomes = {trial["outcome"] for trial in record["trials"]}
    if not outcomes - {"success", "undecided"} and "undecided" in outcomes:
        return f"{where}: no trial failed for certain in {made}, so that N* has no lower end; give more --steps or --certify"
    if patterns and record["P"]:
        return f"{where}: more than the dataset's {record['max_P']} patterns are fitted; make a larger one"
    if patterns or "success" in outcomes:
        return f"{where}: no threshold in {made}; give more --trials"
    widest = max(trial["width"] for trial in record["trials"])
    return f"{where}: no success up to width {widest} in {made}; give more --trials, --steps or --max-width"


def _lacking(record: dict[str, Any]) -> str:
    """What undecided trials mean, and what may decide them."""
    if record["certify"] or record["optimizer"] == "newton":
        return "neither satisfied nor certified to be stuck: the interval allows for both"
    certify = ", --certify most of them" if record["loss"] == "hinge" else ""
    return (
        f"on their budget, and the interval allows for both ends of them; more --steps decide them{certify}"
    )


def tell_fit(session: Session, result: dict[str, Any]) -> None:
    """The numbers with their intervals, and which searches are not there or there twice."""
    for name, words in (("missing", "not there"), ("duplicates", "given more than once")):
        cells = [f"P {one['P']} depth {one['depth']} seed {one['seed']}" for one in result.get(name, [])]
        if cells:
            more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
            session.note(f"{len(cells)} of the searches {words}: {'; '.join(cells[:3])}{more}")
    if result.get("n_open"):
        session.note(
            f"{result['n_open']} N* with an open interval, which has no weight in the fit; give them more --trials"
        )
    low, high = result["slope_interval"] or (None, None)
    depth = result.get("depth")
    if depth and depth["p_value"] is not None:
        verdict = "differ" if depth["p_value"] < 0.05 else "do not differ significantly"
        ratios = ", ".join(f"{ratio:.3g} at L = {one}" for one, ratio in depth["P_over_N"].items())
        session.note(f"depths {verdict} (p = {depth['p_value']:.2g}): P/N* = {ratios}")
    bound = result.get("bound")
    session.table(
        ("", "value", "from", "to"),
        [
            ("d log N*/d log P", result["slope"], low, high),
            ("P/N*", result["P_over_N"], *result["P_over_N_interval"]),
            *([("C0 - N_c/N", bound["P_over_N"], *(bound["interval"] or (None, None)))] if bound else []),
        ],
        title=f"{result['n_points']} point(s)",
    )
    lines = [
        f"{distance:+.1f} from {line}" for line, distance in result["against"].items() if distance is not None
    ]
    session.note(f"log P/N* in standard errors: {', '.join(lines)}")


def tell_jumps(session: Session, jumps: list[dict[str, Any]]) -> None:
    """A line a sweep."""
    if not jumps:
        return
    rows = [
        (
            one["d"], one["depth"], one["activation"], one["P_over_N"], *one["P_over_N_interval"],
            one["unsatisfied_per_parameter"], *(one["unsatisfied_per_parameter_interval"] or (None, None)),
            one["n_satisfied"], one["n_jammed"], one["n_undecided"],
        )
        for one in jumps
    ]  # fmt: skip
    session.table(
        ("d", "depth", "ρ", "P/N", "from", "to", "N_Δ/N", "from", "to", "satisfied", "jammed", "undecided"),
        rows,
        title="the jump of N_Δ/N",
    )
