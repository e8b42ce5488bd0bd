"""What jam-nstar tells people about N* and its scaling."""

from __future__ import annotations

from typing import Any

from jamtools.cli.session import Session


def tell_search(session: Session, records: list[dict[str, Any]]) -> None:
    """A line a P, and what undecided trials mean."""
    rows = [
        (r["P"], r["width"], r["n_star"], f"({r['interval'][0]}, {r['interval'][1] or 'beyond'}]", f"{r['coverage']:.3g}",
         r["P"] / r["n_star"] if r["n_star"] else None, len(r["trials"]))
        for r in records
    ]  # fmt: skip
    session.table(("P", "width", "N*", "interval", "coverage", "P/N*", "trials"), rows)
    undecided = sum(trial["outcome"] == "undecided" for r in records for trial in r["trials"])
    if undecided:
        session.note(f"{undecided} trial(s) ended undecided, {_lacking(records[0])}")


def _lacking(record: dict[str, Any]) -> str:
    """What undecided trials mean, and what may decide them."""
    if record["certify"] or record["optimizer"] == "newton":
        return "neither satisfied nor certified to be stuck: N* is an upper bound"
    certify = ", --certify decides most of them" if record["loss"] == "hinge" else ""
    return f"on their budget: N* is an upper bound; more --steps lower it{certify}"


def tell_fit(session: Session, result: dict[str, Any]) -> None:
    """The numbers with their intervals, and which searches are not there or there twice."""
    for name, words in (("missing", "not there"), ("duplicates", "given more than once")):
        cells = [f"P {one['P']} depth {one['depth']} seed {one['seed']}" for one in result.get(name, [])]
        if cells:
            more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
            session.note(f"{len(cells)} of the searches {words}: {'; '.join(cells[:3])}{more}")
    low, high = result["slope_interval"] or (None, None)
    depth = result.get("depth")
    if depth and depth["p_value"] is not None:
        verdict = "differ" if depth["p_value"] < 0.05 else "do not differ significantly"
        ratios = ", ".join(f"{ratio:.3g} at L = {one}" for one, ratio in depth["P_over_N"].items())
        session.note(f"depths {verdict} (p = {depth['p_value']:.2g}): P/N* = {ratios}")
    session.table(
        ("", "value", "from", "to"),
        [
            ("d log N*/d log P", result["slope"], low, high),
            ("P/N*", result["P_over_N"], *result["P_over_N_interval"]),
        ],
        title=f"{result['n_points']} point(s); N* = P is P/N* = 1, the bound N* = 4P is P/N* = 0.25",
    )
