"""Prints the results of quickstart.sh next to the numbers of the paper.

It reads the JSON lines of a folder with the standard library alone, as a script of your own could do.
"""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])


def lines(name):
    """Returns the JSON objects of one file."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def per_n(run, field):
    """Returns a count per effective parameter, such as N_Δ/N."""
    return None if run[field] is None else run[field] / run["n_effective_expected"]


def mean(values):
    """Returns the mean and the range as a short text."""
    values = [value for value in values if value is not None]
    return f"{sum(values) / len(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "-"


def exponent(half):
    """Returns an exponent and its interval as a short text."""
    if half["exponent"] is None:
        return f"- ({half['refused']})"
    return (
        f"{half['exponent']:.2f} [{half['interval'][0]:.2f}, {half['interval'][1]:.2f}], {half['n']} values"
    )


def between(value, interval):
    """Returns a number with its interval as a short text."""
    if value is None:
        return "-"
    low, high = ("open" if end is None else f"{end:.2f}" for end in interval)
    return f"{value:.2f} [{low}, {high}]"


random, mnist = lines("random-spectra.jsonl"), lines("mnist-spectra.jsonl")
unsatisfied = [run for run in random if run["status"] in ("budget", "stationary")]
(jump,) = lines("minima-fit.jsonl")[0]["jump"]
gaps, nstar, fit = lines("gaps.json")[0], lines("nstar.jsonl"), lines("nstar-fit.jsonl")[0]
neff, cusps = lines("neff.jsonl"), lines("cusps.jsonl")
bounds = [run["bound_holds"] for run in random if run["bound_holds"] is not None]

rows = [
    (
        "P/N at the jump, minima of L = 1",
        between(jump["P_over_N"], jump["P_over_N_interval"]),
        "2.8 to 2.9 (L = 2, 3, 5)",
    ),
    (
        "N_Δ/N there",
        between(jump["unsatisfied_per_parameter"], jump["unsatisfied_per_parameter_interval"]),
        "0.75 (N = 8000, Adam)",
    ),
    ("C0 = N_-(Hp)/N, unsatisfied runs", mean(run["c0"] for run in unsatisfied), "0.5"),
    ("negative modes of H per N", mean(per_n(run, "n_negative_H") for run in unsatisfied), "0.1"),
    (
        "cusps per N, unsatisfied runs",
        mean(per_n(run, "n_cusps") for run in unsatisfied if run["n_cusps"] is not None),
        "0.21 to 0.25",
    ),
    ("N_Δ ≥ N_- - N_c", f"{sum(bounds)} of {len(bounds)} runs", "always, at a minimum"),
    (
        "N_eff = Ñ - hidden",
        f"{sum(r['n_effective'] == r['n_effective_expected'] for r in neff)} of {len(neff)} runs",
        "always, but for dead neurons",
    ),
    ("θ of the overlaps", exponent(gaps["overlaps"]), "0.3 (spheres: 0.423)"),
    ("γ of the gaps", exponent(gaps["gaps"]), "0.2 (spheres: 0.413)"),
    (
        "P/N* at P = " + ", ".join(str(r["P"]) for r in nstar),
        mean(r["P"] / r["n_star"] for r in nstar if r["n_star"]),
        "above 0.25",
    ),
    (
        "slope of log N* against log P",
        f"{fit['slope']:.2f}" if fit["slope"] is not None else "-",
        "1 (random data)",
    ),
]
width = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
print(f"{'':{width[0]}}  {'here':{width[1]}}  paper")
for what, here, paper in rows:
    print(f"{what:{width[0]}}  {here:{width[1]}}  {paper}")
clarke = [r for r in cusps if r["clarke_norm"] is not None]
print(
    f"\n{len(random) + len(mnist)} deep runs at N = {random[0]['n_effective_expected']}: "
    "small, short, and on their way to a minimum."
)
print(
    f"Norm of the gradient -> of the smallest subgradient, first {min(3, len(clarke))} of {len(clarke)} unsatisfied runs: "
    + ", ".join(f"{r['gradient_norm']:.1e} -> {r['clarke_norm']:.1e}" for r in clarke[:3])
)
print(f"Artefacts and pictures are in {folder}/: jump.png, spectra.png, gaps.png, nstar.png")
