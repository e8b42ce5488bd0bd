"""jam-hessian: runs in, the spectra of H, H0 and Hp out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Arithmetic, Streams, grouped
from jamtools.cli.common.options import Dead, Sources, Where, integer_option
from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session
from jamtools.cli.common.tables import SPECTRA_IN_WORDS, cells, has_values
from jamtools.cli.common.values import byte_count, natural

if TYPE_CHECKING:
    import torch

    from jamtools.io.read import Member
    from jamtools.records import Spectrum

NAME = "jam-hessian"
app = new_app()

#: Up to this many runs the table has a column for each run. For more, it has a row for each, with the main fields.
MAX_RUNS_AS_COLUMNS = 6

#: Columns of the table of estimates by Lanczos, after the name of the run.
ESTIMATES = ("part", "dimension", "zero", "95%", "negative", "95%", "lowest", "highest")


def parts(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names in a list such as H0,Hp, each once: some of H0, Hp, H."""
    names = tuple(text.split(",")) if isinstance(text, str) else text
    if unknown := [name for name in names if name not in ("H", "H0", "Hp")]:
        raise typer.BadParameter(f"got {unknown[0]!r}, expected some of H0,Hp,H")
    return tuple(dict.fromkeys(names))


Method = Annotated[
    Literal["exact", "lanczos"],
    typer.Option("--method", help="exact: all eigenvalues; lanczos: densities, without a matrix."),
]
Only = Annotated[
    Any,
    typer.Option(
        "--only", parser=parts, metavar="PARTS", help="Compute only some of H0,Hp,H (default: all)."
    ),
]
Vectors = Annotated[
    int,
    integer_option(
        "--vectors", parser=natural, metavar="K", help="Keep the K lowest and K highest eigenvectors."
    ),
]
MaxMemory = Annotated[
    int | None,
    integer_option(
        "--max-memory",
        parser=byte_count,
        metavar="BYTES",
        help="Refuse work that needs more memory than this, such as 8G.",
    ),
]


@dataclass(frozen=True)
class ExactGroup:
    """Options of the method exact."""

    inertia: Annotated[
        bool,
        typer.Option("--inertia", help="Count signs only, without eigenvalues: several times faster."),
    ] = False
    matrices: Annotated[bool, typer.Option("--matrices", help="Keep the matrices H0 and Hp as well.")] = False


@dataclass(frozen=True)
class LanczosGroup:
    """Options of the method lanczos; None where they were not given."""

    probes: Annotated[
        int | None,
        integer_option("--probes", metavar="K", help="For lanczos: number of random vectors [default: 10]."),
    ] = None
    steps: Annotated[
        int | None,
        integer_option("--steps", metavar="M", help="For lanczos: steps from each vector [default: 100]."),
    ] = None
    extremes: Annotated[
        int | None,
        integer_option(
            "--extremes",
            parser=natural,
            metavar="K",
            help="For lanczos: extreme eigenvalues at each end [default: 1].",
        ),
    ] = None
    layers: Annotated[
        bool, typer.Option("--layers", help="For lanczos: also treat the diagonal block of each layer.")
    ] = False
    seed: Annotated[
        int | None,
        integer_option("--seed", parser=natural, help="For lanczos: seed of the vectors [default: 0]."),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any of them was given."""
        return self != LanczosGroup()


@dataclass(frozen=True)
class Work:
    """How the spectrum of a run is computed, and how many bytes that needs for a run with given metadata."""

    spectrum_of: Callable[[Member], Spectrum]
    bytes_needed: Callable[[Any], int]


@app.command()
@grouped
def hessian(
    files: Sources = None,
    *,
    where: Where = None,
    method: Method = "exact",
    only: Only = None,
    vectors: Vectors = 0,
    exact: ExactGroup,
    lanczos: LanczosGroup,
    max_memory: MaxMemory = None,
    dead: Dead = "leave-out",
    arithmetic: Arithmetic,
    streams: Streams,
) -> None:
    """Decompose the Hessian of the hinge loss, H = H0 + Hp, at the end of each run.

    \b
    Example:
      jam-train data.safetensors --width 10 | jam-hessian > spectra.safetensors
      jam-hessian runs.safetensors --inertia --max-memory 8G > signs.safetensors
      jam-hessian large.safetensors --method lanczos --probes 20 > densities.safetensors

    The result holds all eigenvalues of the three matrices, with trace and Frobenius norm checked; the number of
    negative modes with the scale symmetries of ReLU projected out; rank, kernel and gap of H0; and the symmetry of Hp.
    With --method lanczos no matrix is made: the result holds densities by stochastic Lanczos quadrature, and counts and
    masses with their intervals.

    At fixed norm theta moves on a sphere. All matrices are then those on its tangent space, with Ñ - 1 eigenvalues, and
    Hp stands for Hp + μ 1, with the multiplier μ of the norm: H = H0 + Hp holds. Nothing is projected out of H and Hp.

    The table has all runs. The means of C0 and N_c/N that follow are of jammed runs, which are at a minimum with L > 0.
    """
    _check(method, vectors, exact, lanczos, arithmetic)
    session = Session(NAME, streams, binary=True)
    from jamtools.io.write import spectra_bytes

    all_members, provenance = read_members(session, files, where)
    members = [member for member in all_members if member.run.info["status"] != "diverged"]
    if len(members) < len(all_members):
        session.note(f"{len(all_members) - len(members)} diverged run(s) left out: they have no spectrum")
    place = session.torch_setup(arithmetic)
    if method == "exact":
        work = _exact_work(only, vectors, exact, place)
    else:
        work = _lanczos_work(only, vectors, lanczos, place)
    _check_memory(session, members, work.bytes_needed, place[0], max_memory)
    spectra = []
    with session.progress(NAME, total=len(members)) as update:
        for i, member in enumerate(members):
            n_parameters = member.run.info["n_parameters"]
            update(i, f"{i} of {len(members)} runs finished, {member.name} is next (Ñ = {n_parameters})")
            with member.naming():
                spectra.append(work.spectrum_of(member))
    session.write(spectra_bytes(spectra, session.provenance(provenance)))
    _print_spectra(session, spectra)
    _print_means(session, spectra, dead == "keep")


def _check(
    method: str, vectors: int, exact: ExactGroup, lanczos: LanczosGroup, arithmetic: Arithmetic
) -> None:
    """Refuses options that do not go together."""
    if exact.inertia and (vectors or arithmetic.dtype == "float32"):
        other = "--vectors" if vectors else "--dtype float32"
        raise typer.BadParameter(f"got --inertia with {other}, expected signs alone, in float64")
    if method == "lanczos" and (exact.inertia or exact.matrices):
        other = "--inertia" if exact.inertia else "--matrices"
        raise typer.BadParameter(
            f"got --method lanczos with {other}, which needs a matrix; use --method exact"
        )
    if method == "exact" and lanczos.given:
        raise typer.BadParameter(
            "got --probes, --steps, --extremes, --layers or --seed with --method exact, expected --method lanczos"
        )


def _exact_work(
    only: tuple[str, ...] | None, vectors: int, options: ExactGroup, place: tuple[torch.device, torch.dtype]
) -> Work:
    """All eigenvalues, or all signs, from the matrices."""
    from jamtools.hessian import exact
    from jamtools.records import HESSIAN_PARTS

    wanted = exact.ExactOptions(only or HESSIAN_PARTS, options.matrices, vectors, options.inertia)
    return Work(
        lambda member: exact.exact_spectrum(member.run, member.data, *place, options=wanted),
        lambda info: exact.bytes_needed(info, wanted),
    )


def _lanczos_work(
    only: tuple[str, ...] | None, vectors: int, options: LanczosGroup, place: tuple[torch.device, torch.dtype]
) -> Work:
    """Densities, from products with vectors."""
    from jamtools.hessian import matrix_free
    from jamtools.records import HESSIAN_PARTS

    sampling = matrix_free.LanczosOptions(
        only or HESSIAN_PARTS,
        options.probes or 10,
        options.steps or 100,
        max(vectors, 1) if options.extremes is None else options.extremes,
        options.seed or 0,
        options.layers,
        vectors > 0,
    )
    return Work(
        lambda member: matrix_free.estimate_density(member.run, member.data, *place, options=sampling),
        matrix_free.bytes_needed,
    )


def _check_memory(
    session: Session,
    members: Sequence[Member],
    bytes_needed: Callable[[Any], int],
    device: Any,
    max_memory: int | None,
) -> None:
    """Compares the memory for the largest run with what there is, before any work. Raises InputError if it is too much."""
    from jamtools.errors import Remedy
    from jamtools.machine import GIB, check_memory

    if not members:
        return
    info = max((member.run.info for member in members), key=lambda info: int(info["n_parameters"]))
    need, n = bytes_needed(info), info["n_parameters"]
    what = f"Ñ={n}: the matrices and arrays of this method"
    check_memory(need, device, max_memory, what, Remedy.LANCZOS_OR_MORE_MEMORY)
    if need > GIB:
        session.note(f"up to {need / GIB:.3g} GiB at once, for Ñ={n}")


def _print_spectra(session: Session, spectra: Sequence[Spectrum]) -> None:
    """Prints a table of estimates, or of spectra: a column for each of a few runs, or a row for each of many."""
    records = [{**spectrum.info, "run": f"r{i:04d}"} for i, spectrum in enumerate(spectra)]
    if any("estimates" in record for record in records):
        rows = [[r["run"], *row] for r in records for row in _estimate_rows(r["estimates"])]
        session.table(["run", *ESTIMATES], rows)
    elif len(records) > MAX_RUNS_AS_COLUMNS:
        session.records_table("spectra", records)
    else:
        fixed = has_values("spectra", "μ", records)
        words = {label: text for label, text in SPECTRA_IN_WORDS.items() if fixed or label != "μ"}
        columns = [cells("spectra", words, record) for record in records]
        rows = [[text, *values] for text, *values in zip(words.values(), *columns)]
        session.table(["", *(record["run"] for record in records)], rows)


def _print_means(session: Session, spectra: Sequence[Spectrum], keep_dead: bool) -> None:
    """A note on C0 and N_c/N over the jammed runs, and on the others; none for a single run or without signs."""
    from jamtools.transition import bound

    infos = [spectrum.info for spectrum in spectra]
    if len(infos) < 2 or all(info["c0"] is None for info in infos):
        return
    reasons = [bound.why_left_out(info, keep_dead) for info in infos]
    left_out = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons) if reason)
    rest = f"; left out: {left_out}" if left_out else ""
    if None not in reasons:
        session.note(f"no jammed run, and no mean of C0 and N_c/N{rest}")
        return
    means = bound.stability_bound(infos, keep_dead=keep_dead)
    ends = " [{:.2g}, {:.2g}]".format(*means.interval) if means.interval else ""
    session.note(
        f"{means.n_runs} jammed run(s): C0 = {means.c0:.2g}, N_c/N = {means.cusps_per_parameter:.2g}, "
        f"C0 - N_c/N = {means.P_over_N:.2g}{ends}{rest}"
    )


def _estimate_rows(estimates: dict[str, Any]) -> list[list[object]]:
    """A row for each part: the estimates with their intervals."""
    return [
        [name, part["dimension"], *_with_interval(part["zero"]), *_with_interval(part["negative"]),
         _extreme(part["lowest"][:1]), _extreme(part["highest"][-1:])]
        for name, part in estimates.items()
    ]  # fmt: skip


def _with_interval(estimate: dict[str, Any]) -> list[object]:
    """The value and its interval; `at most` where the quadrature does not resolve the value and it is not known exactly."""
    low, high = estimate["interval"]
    known = estimate.get("exact", False) or estimate.get("resolved", True)
    value = f"{estimate['value']:.4g}" if known else "at most"
    return [value, f"{low:.4g} to {high:.4g}"]


def _extreme(end: list[dict[str, Any]]) -> str | None:
    """An extreme eigenvalue; with ~ where its residual is too large."""
    return f"{'' if end[0]['converged'] else '~'}{end[0]['value']:.4g}" if end else None


def main() -> None:
    """The process jam-hessian."""
    run(app, NAME)


if __name__ == "__main__":
    main()
