"""jam-cusps: pre-activations at zero, and the smallest gradient that they allow, as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Arithmetic, Streams, grouped
from jamtools.cli.common.options import Seed, Sources, Where, integer_option, real_option
from jamtools.cli.common.remedies import in_shell_words
from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session

if TYPE_CHECKING:
    import torch

    from jamtools.cusps.counting import CuspCount, LayerCount
    from jamtools.cusps.preactivations import Profile
    from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient
    from jamtools.io.read import Member
    from jamtools.network.architecture import Architecture

NAME = "jam-cusps"
app = new_app()

#: The counts over all layers and those of each layer: fields of cusps.counting.CuspCount and LayerCount.
COUNTS = ("n_cusps", "n_convex", "n_at_zero", "n_with_gradient", "n_without_gradient", "background")

#: Those of them that are null where the count is refused.
REFUSED_COUNTS = ("n_cusps", "n_convex")

#: What a line holds of the curvature on one tangent space: fields of minima.second_order.Curvature.
CURVATURE_FIELDS = ("dimension", "n_negative", "n_zero", "smallest", "largest", "relative")

#: The fields of a line that are null where there is no gradient to minimise.
NO_SUBGRADIENT = dict.fromkeys(("clarke_norm", "n_multipliers_inside", "clarke_converged", "lagrangian"))

Tolerance = Annotated[
    float | None,
    real_option(
        "--tolerance",
        help="A |z| of up to X times the scale of its neuron counts as zero; by default X is 1e-10 at a minimum, and "
        "elsewhere what separates the cusps best.",
    ),
]
Fresh = Annotated[
    int | None,
    integer_option(
        "--fresh", help="Number of fresh patterns to compare with [default: the test set; for random data P]."
    ),
]
Curvature = Annotated[
    bool | None,
    typer.Option(
        "--curvature/--no-curvature",
        help="Diagonalise the Lagrangian on the tangent space of the cusps [default: up to Ñ = 3000].",
        show_default=False,
    ),
]


@app.command()
@grouped
def cusps(
    files: Sources = None,
    *,
    where: Where = None,
    tolerance: Tolerance = None,
    fresh: Fresh = None,
    seed: Seed = 0,
    curvature: Curvature = None,
    arithmetic: Arithmetic,
    streams: Streams,
) -> None:
    """Count the cusps of each run: hidden pre-activations that sit at zero.

    \b
    Example:
      jam-data random -P 1000 -d 10 | jam-train --width 10 --depth 3 --steps 100k | jam-cusps
      jam-cusps runs/*.safetensors | jq .n_cusps_per_parameter

    N_c is counted over the training set, in total and layer by layer, at the patterns with gradient (Δ > 0), because
    only there a cusp can hold a direction. A |z| counts as zero relative to the scale of its neuron: the size that z
    would have if its terms did not cancel. N_c therefore does not change when neurons are rescaled. At a minimum N_c is
    the number of cusps of its certificate. Elsewhere the part of the pre-activations at zero that a smooth density
    explains (background) is subtracted. A count above what a minimum can hold is null, and "cusps_refused" has the
    reason. Cusps where the loss has a kink like |z| are counted as well (convex). The mass at zero, and the density of
    pre-activations in units of the rms of the layer, are given for the training set and for fresh patterns. These are
    the test set, or for random data new patterns on the sphere. A smooth activation has no cusps: its counts are 0, and
    the masses are still given.

    For a hinge loss with N_Δ > 0 there are two norms: that of the smallest element of the Clarke subdifferential, in
    which ρ' at each cusp may be anywhere in [0, 1], and that of the plain gradient. At a minimum the first vanishes
    and the second does not.

    For the same runs, "lagrangian" holds the signs of the curvature on the tangent space of the cusps. The matrix is H
    with the multipliers in place of ρ', with scale symmetries projected out. "free" holds the same on the larger
    tangent space of only those cusps whose multiplier is strictly inside (0, 1). "stable" is false if there is a
    negative eigenvalue (N_-) or a cusp like -|z| (n_concave). It is true if "free" has no negative eigenvalue either:
    the run is then at a minimum to second order, if the Clarke norm is negligible compared with the plain one.
    Otherwise it is null. Eigenvalues are in units of the mean diagonal of H0, layer by layer.
    """
    session = Session(NAME, streams)

    members, _ = read_members(session, files, where)
    power = 0 if curvature is False else 2
    sizes = ((m.data.P * m.run.info["width"], m.run.info["n_parameters"] ** power) for m in members)
    largest = max(map(max, sizes), default=0)
    place = session.torch_setup(arithmetic, array_size=largest)
    records = []
    with session.progress(NAME, len(members)) as update:
        for i, member in enumerate(members):
            update(i, f"{i} of {len(members)} runs finished, {member.name} is next")
            with member.naming():
                records.append(_record(member, tolerance, fresh, seed, curvature, place, session))
    session.write_json(records)
    session.records_table("cusps", records)


def _record(
    member: Member,
    tolerance: float | None,
    fresh: int | None,
    seed: int,
    curvature: bool | None,
    place: tuple[torch.device, torch.dtype],
    session: Session,
) -> dict[str, Any]:
    """The JSON line of a run."""
    from jamtools.cusps.counting import count_of_run
    from jamtools.cusps.preactivations import fresh_patterns, profile
    from jamtools.network.problem import Problem

    problem = Problem.of(member.run, member.data, place[0])
    arch, theta = problem.arch, problem.tensor(member.run.theta)
    if not theta.isfinite().all():
        session.note(
            f"{member.name}: the run diverged: its parameters are not finite, and no cusps can be counted"
        )
        nothing = dict.fromkeys(
            ("tolerance", *COUNTS, "cusps_refused", "n_cusps_per_parameter", "gradient_norm")
        )
        return {**_run_fields(member, arch), **nothing, **NO_SUBGRADIENT, "fresh": None, "layers": []}
    counted = count_of_run(member.run, member.data, place[0], tolerance)
    if counted.refused:
        session.note(f"{member.name}: no N_c: {counted.refused}")
    new, source = fresh_patterns(member.data, fresh, seed)
    profiles = [profile(theta, problem.x, arch, counted), None]
    if new is not None:
        profiles[1] = profile(theta, problem.tensor(new), arch, counted)
    return {
        **_run_fields(member, arch),
        "tolerance": counted.tolerance,
        **_counts(counted, counted.refused),
        "cusps_refused": counted.refused,
        "n_cusps_per_parameter": None if counted.refused else counted.n_cusps / arch.n_effective,
        **_clarke(member, counted, curvature, place, session),
        "fresh": None if new is None else {"source": source, "n": len(new)},
        "layers": [_layer(counted, profiles, j) for j in range(arch.depth)],
    }


def _counts(counted: CuspCount | LayerCount, refused: str | None) -> dict[str, Any]:
    """The counts over all layers or of one; None for those that are refused."""
    counts = {name: getattr(counted, name) for name in COUNTS}
    return counts | dict.fromkeys(REFUSED_COUNTS) if refused else counts


def _run_fields(member: Member, arch: Architecture) -> dict[str, Any]:
    """What the line holds of the run itself."""
    info = member.run.info
    names = (
        "data",
        "d",
        "width",
        "depth",
        "P",
        "activation",
        "loss",
        "optimizer",
        "seed",
        "status",
        "n_unsatisfied",
    )
    head = {"kind": "cusps", "run": member.name, **{name: info.get(name) for name in names}}
    return {**head, "finished": "finish" in info, "n_effective_expected": arch.n_effective}


def _clarke(
    member: Member,
    counted: CuspCount,
    curvature: bool | None,
    place: tuple[torch.device, torch.dtype],
    session: Session,
) -> dict[str, Any]:
    """The norms of the gradient and of the subdifferential's smallest element; null where there is nothing to minimise."""
    from jamtools.cusps.subgradient import CuspGradient, smallest_subgradient
    from jamtools.errors import InputError
    from jamtools.network.problem import Problem

    info = member.run.info
    if info["loss"] != "hinge" or not info["n_unsatisfied"] or counted.refused:
        return {"gradient_norm": info["grad_norm"], **NO_SUBGRADIENT}
    problem = Problem.of(member.run, member.data, *place)
    try:
        cusps = CuspGradient(problem.tensor(member.run.theta), problem, counted)
        end = smallest_subgradient(cusps)
    except InputError as error:
        session.note(f"{member.name}: no Clarke norm: {in_shell_words(error)}")
        return {"gradient_norm": info["grad_norm"], **NO_SUBGRADIENT}
    return {
        "gradient_norm": end.gradient_norm,
        "clarke_norm": end.norm,
        "n_multipliers_inside": end.n_inside,
        "clarke_converged": end.converged,
        "lagrangian": _lagrangian(member, cusps, end, curvature, session),
    }


def _lagrangian(
    member: Member, cusps: CuspGradient, end: SmallestSubgradient, curvature: bool | None, session: Session
) -> dict[str, Any] | None:
    """The curvature on the tangent spaces of the cusps; None where it is not asked for or the network is too large."""
    from jamtools.errors import InputError
    from jamtools.minima import second_order

    n = member.run.info["n_parameters"]
    max_parameters = second_order.CURVATURE_AUTOMATIC_PARAMETERS
    if curvature is None and n > max_parameters:
        session.note(
            f"{member.name}: {n} parameters, and above {max_parameters} the curvature needs --curvature"
        )
    if not (n <= max_parameters if curvature is None else curvature):
        return None
    try:
        curvatures = second_order.lagrangian(cusps, end)
    except InputError as error:
        session.note(f"{member.name}: no curvature: {in_shell_words(error)}")
        return None
    held, free = (
        {name: getattr(space, name) for name in CURVATURE_FIELDS}
        for space in (curvatures.held, curvatures.free)
    )
    counts = ("n_at_bound", "n_without_force", "n_concave", "stable")
    return {**held, "free": free, **{name: getattr(curvatures, name) for name in counts}}


def _layer(counted: CuspCount, profiles: list[Profile | None], j: int) -> dict[str, Any]:
    """Counts, masses and histograms of a layer; densities are per rms of z, over training or fresh patterns."""
    from jamtools.cusps.preactivations import PREACTIVATION_EDGES

    layer = counted.per_layer[j]
    train, fresh = ((None, None) if p is None else (p.mass[j], _six_digits(p.density[j])) for p in profiles)
    return {
        "layer": layer.layer,
        **_counts(layer, counted.refused),
        "mass_train": train[0],
        "mass_fresh": fresh[0],
        "scale": layer.rms,
        "histogram": {"edges": PREACTIVATION_EDGES, "train": train[1], "fresh": fresh[1]},
    }


def _six_digits(values: Any) -> list[float]:
    """The values with six digits, which are enough for a histogram."""
    return [float(f"{value:.6g}") for value in values]


def main() -> None:
    """The process jam-cusps."""
    run(app, NAME)


if __name__ == "__main__":
    main()
