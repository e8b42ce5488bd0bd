"""jam-cusps: pre-activations at zero, and the smallest gradient they allow, as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.options import (
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
from jamtools.cli.session import Session

if TYPE_CHECKING:
    import torch

    from jamtools.cusps import CuspCount, Profile
    from jamtools.loss import Loss
    from jamtools.network import Architecture
    from jamtools.store import Member

NAME = "jam-cusps"
app = new_app()

COLUMNS = {
    "run": "run", "N": "n_effective_expected", "N_Δ": "n_unsatisfied", "tolerance": "tolerance", "N_c": "n_cusps",
    "background": "background", "N_c/N": "n_cusps_per_parameter", "gradient": "n_with_gradient", "convex": "n_convex",
    "‖∇L‖": "gradient_norm", "Clarke": "clarke_norm", "inside": "n_multipliers_inside",
}  # fmt: skip

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


@app.command()
def cusps(
    files: Sources = None,
    tolerance: Tolerance = None,
    fresh: Fresh = None,
    seed: Seed = 0,
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
    """
    session = Session(NAME, output, quiet)
    from jamtools import store

    members, _ = store.read_ensemble(files)
    largest = max((member.data.P * member.run.info["width"] for member in members), default=0)
    where = session.torch_setup(device, dtype, threads, numbers=largest)
    records = []
    with session.progress(NAME, len(members)) as update:
        for i, member in enumerate(members):
            update(i, member.name)
            records.append(_record(member, tolerance, fresh, seed, where, session))
    session.write_json(records)
    session.table(COLUMNS, [[record[name] for name in COLUMNS.values()] for record in records])


def _record(
    member: Member,
    tolerance: float | None,
    fresh: int | None,
    seed: int,
    where: tuple[torch.device, torch.dtype],
    session: Session,
) -> dict[str, Any]:
    """One run's JSON line."""
    import torch

    from jamtools import cusps
    from jamtools.loss import Loss
    from jamtools.network import Architecture

    arch, loss = Architecture.of(member.run.info), Loss.of(member.run.info)
    arrays = (member.run.theta, member.data.x, member.data.y)
    theta, x, y = (torch.as_tensor(array, device=where[0], dtype=where[1]) for array in arrays)
    if not theta.isfinite().all():
        session.note(f"{member.name}: its parameters are not finite: no cusps to count; it diverged")
        nothing = dict.fromkeys(list(COLUMNS.values())[3:])
        return {**_head(member, arch), **nothing, "fresh": None, "layers": []}
    found = cusps.count(theta, x, y, arch, loss, tolerance)
    new, source = cusps.fresh_patterns(member.data, fresh, seed)
    profiles = [cusps.profile(theta, x, arch, found), None]
    if new is not None:
        profiles[1] = cusps.profile(theta, torch.as_tensor(new).to(theta), arch, found)
    counts = ("tolerance", "n_cusps", "n_with_gradient", "n_convex", "background")
    return {
        **_head(member, arch),
        **{name: getattr(found, name) for name in counts},
        "n_cusps_per_parameter": found.n_cusps / arch.n_effective,
        **_clarke(member, (theta, x, y), arch, loss, found, session),
        "fresh": None if new is None else {"source": source, "n": len(new)},
        "layers": [_layer(found, profiles, j) for j in range(arch.depth)],
    }


def _head(member: Member, arch: Architecture) -> dict[str, Any]:
    """What the line says of the run itself."""
    info = member.run.info
    names = ("d", "width", "depth", "P", "activation", "loss", "seed", "status", "n_unsatisfied")
    head = {"kind": "cusps", "run": member.name, **{name: info[name] for name in names}}
    return {**head, "n_effective_expected": arch.n_effective}


def _clarke(
    member: Member,
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    arch: Architecture,
    loss: Loss,
    found: CuspCount,
    session: Session,
) -> dict[str, Any]:
    """The norms of the gradient and of the subdifferential's smallest element; null where not asked."""
    from jamtools import cusps
    from jamtools.errors import InputError

    nothing = dict.fromkeys(("gradient_norm", "clarke_norm", "n_multipliers_inside", "clarke_converged"))
    if loss.name != "hinge" or not member.run.info["n_unsatisfied"]:
        return {**nothing, "gradient_norm": member.run.info["grad_norm"]}
    try:
        end = cusps.clarke(*tensors, arch, loss, found)
    except InputError as error:
        session.note(f"{member.name}: no Clarke norm: {error}")
        return {**nothing, "gradient_norm": member.run.info["grad_norm"]}
    return {
        "gradient_norm": end.gradient_norm,
        "clarke_norm": end.norm,
        "n_multipliers_inside": end.n_inside,
        "clarke_converged": end.converged,
    }


def _layer(found: CuspCount, profiles: list[Profile | None], j: int) -> dict[str, Any]:
    """One layer's counts, masses and histograms; densities are per rms of z, over training or fresh pairs."""
    from jamtools.cusps import EDGES

    layer = found.per_layer[j]
    train, fresh = ((None, None) if p is None else (p.mass[j], _short(p.density[j])) for p in profiles)
    return {
        "layer": layer.layer,
        "n_cusps": layer.n_cusps,
        "n_with_gradient": layer.n_with_gradient,
        "n_convex": layer.n_convex,
        "background": layer.background,
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
