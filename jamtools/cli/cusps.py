"""jam-cusps: pre-activations at zero, and the smallest gradient they allow, as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import (
    Debug,
    Device,
    Dtype,
    Output,
    Quiet,
    Seed,
    Sources,
    Threads,
    Version,
    above_zero,
    positive,
)
from jamtools.cli.common.session import Session

if TYPE_CHECKING:
    import torch

    from jamtools.cusps.counting import CuspCount
    from jamtools.cusps.preactivations import Profile
    from jamtools.cusps.subgradient import Clarke
    from jamtools.io.read import Member
    from jamtools.network.architecture import Architecture
    from jamtools.network.loss import Loss

    #: theta, x, y, the network, its loss and its cusps
    Point = tuple[torch.Tensor, torch.Tensor, torch.Tensor, Architecture, Loss, CuspCount]

NAME = "jam-cusps"
app = new_app()

COLUMNS = {
    "run": "run", "N": "n_effective_expected", "N_Δ": "n_unsatisfied", "tolerance": "tolerance", "N_c": "n_cusps",
    "background": "background", "N_c/N": "n_cusps_per_parameter", "gradient": "n_with_gradient",
    "without": "n_without_gradient", "convex": "n_convex", "‖∇L‖": "gradient_norm", "Clarke": "clarke_norm",
    "inside": "n_multipliers_inside", "tangent": "lagrangian.dimension", "N_-": "lagrangian.n_negative",
    "λ_min/λ_max": "lagrangian.relative", "stable": "lagrangian.stable",
}  # fmt: skip
#: The counts over all layers, and those of each, by the names of cusps.CuspCount and cusps.LayerCount.
COUNTS = ("n_cusps", "n_with_gradient", "n_without_gradient", "n_convex", "background")
#: What is said of one tangent space, by the names of tangent.Curvature.
SIGNS = ("dimension", "n_negative", "n_zero", "smallest", "largest", "relative")
NOT_ASKED = dict.fromkeys(("clarke_norm", "n_multipliers_inside", "clarke_converged", "lagrangian"))

Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        parser=above_zero,
        metavar="X",
        help="|z| up to X rms of its layer is zero; by default the X that tells cusps from the rest best.",
    ),
]
Fresh = Annotated[
    int | None,
    typer.Option(
        "--fresh",
        parser=positive,
        metavar="N",
        help="Fresh patterns to compare with [default: the test set; for random data P].",
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
def cusps(
    files: Sources = None,
    tolerance: Tolerance = None,
    fresh: Fresh = None,
    seed: Seed = 0,
    curvature: Curvature = None,
    output: Output = "-",
    device: Device = "auto",
    dtype: Dtype = "float64",
    threads: Threads = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Count the cusps of each run: hidden pre-activations that sit at zero.

    \b
    Example:
      jam-data random -P 1000 -d 10 | jam-train --width 10 --depth 3 --steps 100k | jam-cusps
      jam-cusps runs/*.safetensors | jq .n_cusps_per_parameter

    N_c over the training set, in all and layer by layer, with the part of it that a smooth density around
    zero explains (background), those at patterns with gradient (Δ > 0) and those where the loss has a kink
    like |z| (convex); the mass at zero and the density of pre-activations, in rms of the layer, on the
    training set and on fresh patterns: the test set, or for random data new patterns on the sphere.

    For a hinge loss with N_Δ > 0: the norm of the smallest element of the Clarke subdifferential (ρ' at each
    cusp anywhere in [0, 1]) beside that of the plain gradient. It vanishes at a minimum; the plain one does
    not. A smooth activation has no cusps: its counts are 0 and the masses stay.

    There too, as "lagrangian", the signs of the curvature that the cusps leave: of H with the multipliers for ρ', on
    the tangent space of the cusps, scale symmetries projected out. "free" holds only the cusps whose multiplier is
    strictly inside (0, 1). stable is false with a negative eigenvalue (N_-) or a cusp like -|z| (n_concave); true
    without one on "free" either: a minimum as far as second order goes, once the Clarke norm is nothing beside the
    plain one; and null between the two. Eigenvalues are in units of the mean diagonal of H0, layer by layer.
    """
    session = Session(NAME, output, quiet)
    from jamtools.io.read import read_ensemble

    members, _ = read_ensemble(files)
    power = 0 if curvature is False else 2
    sizes = ((m.data.P * m.run.info["width"], m.run.info["n_parameters"] ** power) for m in members)
    largest = max(map(max, sizes), default=0)
    where = session.torch_setup(device, dtype, threads, numbers=largest)
    records = []
    with session.progress(NAME, len(members)) as update:
        for i, member in enumerate(members):
            update(i, member.name)
            records.append(_record(member, tolerance, fresh, seed, curvature, where, session))
    session.write_json(records)
    session.table(COLUMNS, [[_cell(record, name) for name in COLUMNS.values()] for record in records])


def _cell(record: Any, name: str) -> Any:
    """A value of the line by its name, `outer.inner` in an object; None where there is no object."""
    outer, _, inner = name.partition(".")
    return record[outer] if not inner or record[outer] is None else record[outer][inner]


def _record(
    member: Member,
    tolerance: float | None,
    fresh: int | None,
    seed: int,
    curvature: bool | None,
    where: tuple[torch.device, torch.dtype],
    session: Session,
) -> dict[str, Any]:
    """One run's JSON line."""
    import torch

    from jamtools.cusps.counting import count
    from jamtools.cusps.preactivations import fresh_patterns, profile
    from jamtools.network.architecture import Architecture
    from jamtools.network.loss import Loss

    arch, loss = Architecture.of(member.run.info), Loss.of(member.run.info)
    arrays = (member.run.theta, member.data.x, member.data.y)
    theta, x, y = (torch.as_tensor(array, device=where[0], dtype=where[1]) for array in arrays)
    if not theta.isfinite().all():
        session.note(f"{member.name}: its parameters are not finite: no cusps to count; it diverged")
        nothing = dict.fromkeys(("tolerance", *COUNTS, "n_cusps_per_parameter", "gradient_norm"))
        return {**_head(member, arch), **nothing, **NOT_ASKED, "fresh": None, "layers": []}
    found = count(theta, x, y, arch, loss, tolerance)
    new, source = fresh_patterns(member.data, fresh, seed)
    profiles = [profile(theta, x, arch, found), None]
    if new is not None:
        profiles[1] = profile(theta, torch.as_tensor(new).to(theta), arch, found)
    return {
        **_head(member, arch),
        **{name: getattr(found, name) for name in ("tolerance", *COUNTS)},
        "n_cusps_per_parameter": found.n_cusps / arch.n_effective,
        **_clarke(member, (theta, x, y, arch, loss, found), curvature, session),
        "fresh": None if new is None else {"source": source, "n": len(new)},
        "layers": [_layer(found, profiles, j) for j in range(arch.depth)],
    }


def _head(member: Member, arch: Architecture) -> dict[str, Any]:
    """What the line says of the run itself."""
    info = member.run.info
    names = ("d", "width", "depth", "P", "activation", "loss", "seed", "status", "n_unsatisfied")
    head = {"kind": "cusps", "run": member.name, **{name: info[name] for name in names}}
    return {**head, "n_effective_expected": arch.n_effective}


def _clarke(member: Member, point: Point, curvature: bool | None, session: Session) -> dict[str, Any]:
    """The norms of the gradient and of the subdifferential's smallest element; null where not asked."""
    from jamtools.cusps.subgradient import clarke
    from jamtools.errors import InputError

    info = member.run.info
    if info["loss"] != "hinge" or not info["n_unsatisfied"]:
        return {"gradient_norm": info["grad_norm"], **NOT_ASKED}
    try:
        end = clarke(*point)
    except InputError as error:
        session.note(f"{member.name}: no Clarke norm: {error}")
        return {"gradient_norm": info["grad_norm"], **NOT_ASKED}
    return {
        "gradient_norm": end.gradient_norm,
        "clarke_norm": end.norm,
        "n_multipliers_inside": end.n_inside,
        "clarke_converged": end.converged,
        "lagrangian": _lagrangian(member, point, end, curvature, session),
    }


def _lagrangian(
    member: Member, point: Point, end: Clarke, curvature: bool | None, session: Session
) -> dict[str, Any] | None:
    """Second order on the cusps' tangent spaces; None where it is not asked for or too large."""
    from jamtools.errors import InputError
    from jamtools.minima import second_order

    n = member.run.info["n_parameters"]
    if curvature is None and n > second_order.AUTOMATIC:
        session.note(
            f"{member.name}: {n} parameters, no curvature above {second_order.AUTOMATIC} unless with --curvature"
        )
    if not (n <= second_order.AUTOMATIC if curvature is None else curvature):
        return None
    try:
        found = second_order.lagrangian(*point, end)
    except InputError as error:
        session.note(f"{member.name}: no curvature: {error}")
        return None
    held, free = ({name: getattr(space, name) for name in SIGNS} for space in (found.held, found.free))
    counts = ("n_at_bound", "n_without_force", "n_concave", "stable")
    return {**held, "free": free, **{name: getattr(found, name) for name in counts}}


def _layer(found: CuspCount, profiles: list[Profile | None], j: int) -> dict[str, Any]:
    """One layer's counts, masses and histograms; densities are per rms of z, over training or fresh pairs."""
    from jamtools.cusps.preactivations import EDGES

    layer = found.per_layer[j]
    train, fresh = ((None, None) if p is None else (p.mass[j], _short(p.density[j])) for p in profiles)
    return {
        "layer": layer.layer,
        **{name: getattr(layer, name) for name in COUNTS},
        "mass_train": train[0],
        "mass_fresh": fresh[0],
        "scale": layer.scale,
        "tolerance": layer.limit,
        "histogram": {"edges": EDGES, "train": train[1], "fresh": fresh[1]},
    }


def _short(values: Any) -> list[float]:
    """Six digits are enough for a histogram."""
    return [float(f"{value:.6g}") for value in values]


def main() -> None:
    """Entry point."""
    run(app, NAME)


if __name__ == "__main__":
    main()
