"""jam-hessian: runs in, the spectra of H, H0 and Hp out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import (
    Debug,
    Device,
    Dtype,
    Output,
    Quiet,
    Sources,
    Threads,
    Version,
    byte_count,
    natural,
    positive,
)
from jamtools.cli.common.session import Session

if TYPE_CHECKING:
    from jamtools.io.read import Member
    from jamtools.records import Spectrum

NAME = "jam-hessian"
app = new_app()
#: Up to this many runs the table has a column for each of them, else a row of the most important fields.
COLUMNS_AT_MOST = 6
#: What a row of the whole table is called, and the field it shows.
WHOLE = {
    "Ñ": "n_parameters", "N": "n_effective_expected", "symmetries Ñ - N": "n_symmetries", "loss": "final_loss",
    "N_Δ": "n_unsatisfied", "N_Δ/N": "unsatisfied_per_parameter",
    "rank H0": "rank_H0", "kernel of H0": "n_zero_H0", "relative gap at the cut": "relative_gap_H0",
    "weight of the delta (N - rank)/N": "delta_weight_H0", "continuum starts at (gap H0)": "gap_H0",
    "largest of H0": "largest_H0",
    "N_-(Hp)": "n_negative_Hp", "C0 = N_-(Hp)/N": "c0", "N_-(H)": "n_negative_H",
    "asymmetry of Hp (KS)": "asymmetry_Hp", "tr Hp³, normalised": "odd_moment_3_Hp", "tr Hp⁵, normalised": "odd_moment_5_Hp",
    "rms of Hp / √L": "scale_Hp",
    "N_c": "n_cusps", "convex, with gradient": "n_convex_cusps", "N_Δ ≥ N_-": "smooth_bound_holds",
    "N_Δ ≥ N_- - N_c": "bound_holds", "trace error": "trace_error", "Frobenius error": "frobenius_error",
}  # fmt: skip
SHORT = {
    "N": "n_effective_expected", "N_Δ": "n_unsatisfied", "rank H0": "rank_H0", "gap H0": "gap_H0",
    "N_-(Hp)": "n_negative_Hp", "C0": "c0", "N_-(H)": "n_negative_H", "N_c": "n_cusps", "bound holds": "bound_holds",
    "trace err": "trace_error", "Frob. err": "frobenius_error",
}  # fmt: skip

ESTIMATES = ("part", "dimension", "zero", "95%", "negative", "95%", "lowest", "highest")


def parts(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Some of H0, Hp, H."""
    names = tuple(text.split(",")) if isinstance(text, str) else text
    if unknown := [name for name in names if name not in ("H", "H0", "Hp")]:
        raise typer.BadParameter(f"got {unknown[0]!r}, expected some of H0,Hp,H")
    return tuple(dict.fromkeys(names))


@app.command()
def hessian(
    files: Sources = None,
    method: Annotated[
        Literal["exact", "lanczos"],
        typer.Option("--method", help="exact: all eigenvalues; lanczos: densities, without a matrix."),
    ] = "exact",
    only: Annotated[
        Any, typer.Option("--only", parser=parts, metavar="PARTS", help="Some of H0,Hp,H (default: all).")
    ] = None,
    inertia: Annotated[
        bool, typer.Option("--inertia", help="Signs alone, without eigenvalues: several times faster.")
    ] = False,
    matrices: Annotated[bool, typer.Option("--matrices", help="Keep the matrices H0 and Hp too.")] = False,
    vectors: Annotated[
        int,
        typer.Option(
            "--vectors", parser=natural, metavar="K", help="Keep the K lowest and K highest eigenvectors."
        ),
    ] = 0,
    probes: Annotated[
        int | None,
        typer.Option(
            "--probes", parser=positive, metavar="K", help="Of lanczos: random vectors [default: 10]."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", parser=positive, metavar="M", help="Of lanczos: steps of each [default: 100]."
        ),
    ] = None,
    extremes: Annotated[
        int | None,
        typer.Option(
            "--extremes",
            parser=natural,
            metavar="K",
            help="Of lanczos: eigenvalues at each end [default: 1].",
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Of lanczos: the diagonal block of each layer too.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", parser=natural, metavar="N", help="Of lanczos: of the vectors [default: 0]."),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            "--max-memory", parser=byte_count, metavar="BYTES", help="Refuse what takes more, such as 8G."
        ),
    ] = None,
    output: Output = "-",
    device: Device = "auto",
    dtype: Dtype = "float64",
    threads: Threads = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Decompose the Hessian of the hinge loss, H = H0 + Hp, at the end of each run.

    \b
    Example:
      jam-train data.safetensors --width 10 | jam-hessian > spectra.safetensors
      jam-hessian runs.safetensors --inertia --max-memory 8G > signs.safetensors
      jam-hessian large.safetensors --method lanczos --probes 20 > densities.safetensors

    All eigenvalues of the three matrices, with trace and Frobenius norm checked; the number of negative modes
    with the scale symmetries of ReLU projected out; rank, kernel and gap of H0; the symmetry of Hp. With --method
    lanczos no matrix is made: densities by stochastic Lanczos quadrature, counts and masses with their intervals.
    """
    _check(method, inertia, matrices, vectors, dtype, (probes, steps, extremes, layers or None, seed))
    session = Session(NAME, output, quiet, binary=True)
    from jamtools.hessian import exact, matrix_free
    from jamtools.io.read import read_ensemble
    from jamtools.io.write import spectra_bytes
    from jamtools.records import HESSIAN_PARTS

    everyone, provenance = read_ensemble(files)
    members = [member for member in everyone if member.run.info["status"] != "diverged"]
    if len(members) < len(everyone):
        session.note(f"{len(everyone) - len(members)} diverged run(s) left out: they have no spectrum")
    where = session.torch_setup(device, dtype, threads)
    take: Callable[[Member], Spectrum]
    if method == "exact":
        wanted = exact.Wanted(only or HESSIAN_PARTS, matrices, vectors, inertia)
        take = lambda m: exact.spectrum_of(m.run, m.data, *where, wanted=wanted)
        need = lambda info: exact.needed(info, wanted)
    else:
        ends = max(vectors, 1) if extremes is None else extremes
        sampling = matrix_free.Sampling(
            only or HESSIAN_PARTS, probes or 10, steps or 100, ends, seed or 0, layers, vectors > 0
        )
        take = lambda m: matrix_free.estimate(m.run, m.data, *where, sampling=sampling)
        need = matrix_free.needed
    _announce(session, members, need, where[0], max_memory)
    spectra = []
    with session.progress(NAME, total=len(members)) as update:
        for i, member in enumerate(members):
            update(i, f"{member.name} Ñ={member.run.info['n_parameters']}")
            spectra.append(take(member))
    session.write(spectra_bytes(spectra, session.provenance(provenance)))
    _tell(session, spectra)


def _check(
    method: str, inertia: bool, matrices: bool, vectors: int, dtype: str, sampling: Sequence[object]
) -> None:
    """Options that do not go together are a usage error."""
    if inertia and (vectors or dtype == "float32"):
        other = "--vectors" if vectors else "--dtype float32"
        raise typer.BadParameter(f"got --inertia with {other}, expected signs alone, in float64")
    if method == "lanczos" and (inertia or matrices):
        other = "--inertia" if inertia else "--matrices"
        raise typer.BadParameter(
            f"got --method lanczos with {other}, which needs a matrix; use --method exact"
        )
    if method == "exact" and any(value is not None for value in sampling):
        raise typer.BadParameter(
            "got --probes, --steps, --extremes, --layers or --seed with --method exact, expected --method lanczos"
        )


def _announce(
    session: Session,
    members: Sequence[Member],
    needed: Callable[[Any], int],
    device: Any,
    max_memory: int | None,
) -> None:
    """What the largest run will take, before any work; refused when there is less."""
    from jamtools.machine import GIB, afford

    if not members:
        return
    info = max((member.run.info for member in members), key=lambda info: int(info["n_parameters"]))
    need, n = needed(info), info["n_parameters"]
    remedy = "use --method lanczos, or give more --max-memory"
    afford(need, device, max_memory, f"Ñ={n}: what this method holds at once", remedy)
    if need > GIB:
        session.note(f"up to {need / GIB:.3g} GiB at once, for Ñ={n}")


def _tell(session: Session, spectra: Sequence[Spectrum]) -> None:
    names = [f"r{i:04d}" for i in range(len(spectra))]
    infos = [one.info for one in spectra]
    if any("estimates" in info for info in infos):
        rows = [[n, *row] for n, info in zip(names, infos) for row in _estimate_rows(info["estimates"])]
        session.table(["run", *ESTIMATES], rows)
    elif len(spectra) > COLUMNS_AT_MOST:
        session.table(
            ["run", *SHORT], [[n, *(info[f] for f in SHORT.values())] for n, info in zip(names, infos)]
        )
    else:
        rows = [[label, *(info[field] for info in infos)] for label, field in WHOLE.items()]
        session.table(["", *names], rows)


def _estimate_rows(estimates: dict[str, Any]) -> list[list[object]]:
    """A row for each part: what was estimated, with its interval."""
    return [
        [name, one["dimension"], *_with_interval(one["zero"]), *_with_interval(one["negative"]),
         _shown(one["lowest"][:1]), _shown(one["highest"][-1:])]
        for name, one in estimates.items()
    ]  # fmt: skip


def _with_interval(one: dict[str, Any]) -> list[object]:
    low, high = one["interval"]
    value = f"{one['value']:.4g}" if one.get("resolved", True) else "at most"
    return [value, f"{low:.4g} to {high:.4g}"]


def _shown(end: list[dict[str, Any]]) -> str | None:
    """An extreme eigenvalue; with ~ where its residual is too large."""
    return f"{'' if end[0]['converged'] else '~'}{end[0]['value']:.4g}" if end else None


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
