"""jam-hessian: runs in, the spectra of H, H0 and Hp out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.options import (
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
)
from jamtools.cli.session import Session

if TYPE_CHECKING:
    from jamtools.decomposition import Wanted
    from jamtools.records import Spectrum
    from jamtools.store import Member

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


def parts(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Some of H0, Hp, H."""
    names = tuple(text.split(",")) if isinstance(text, str) else text
    if unknown := [name for name in names if name not in ("H", "H0", "Hp")]:
        raise typer.BadParameter(f"got {unknown[0]!r}, expected some of H0,Hp,H")
    return tuple(dict.fromkeys(names))


@app.command()
def hessian(
    files: Sources = None,
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

    All eigenvalues of the three matrices, with trace and Frobenius norm checked; the number of negative modes
    with the scale symmetries of ReLU projected out; rank, kernel and gap of H0; the symmetry of Hp.
    """
    if inertia and (vectors or dtype == "float32"):
        raise typer.BadParameter(
            f"got --inertia with {'--vectors' if vectors else '--dtype float32'}, expected signs alone, in float64"
        )
    session = Session(NAME, output, quiet, binary=True)
    from jamtools import store
    from jamtools.decomposition import Wanted, spectrum_of
    from jamtools.records import PARTS

    everyone, provenance = store.read_ensemble(files)
    members = [member for member in everyone if member.run.info["status"] != "diverged"]
    if len(members) < len(everyone):
        session.note(f"{len(everyone) - len(members)} diverged run(s) left out: they have no spectrum")
    where = session.torch_setup(device, dtype, threads)
    wanted = Wanted(only or PARTS, matrices, vectors, inertia)
    _announce(session, members, wanted, where[0], max_memory)
    spectra = []
    with session.progress(NAME, total=len(members)) as update:
        for i, member in enumerate(members):
            update(i, f"{member.name} Ñ={member.run.info['n_parameters']}")
            spectra.append(spectrum_of(member.run, member.data, *where, wanted=wanted))
    session.write(store.spectra_bytes(spectra, session.provenance(provenance)))
    _tell(session, spectra)


def _announce(
    session: Session, members: Sequence[Member], wanted: Wanted, device: Any, max_memory: int | None
) -> None:
    """What the largest run will take, before any work; refused when there is less."""
    from jamtools.decomposition import needed
    from jamtools.memory import GIB, afford

    if not members:
        return
    largest = max(members, key=lambda member: member.run.info["n_parameters"])
    need = needed(largest.run.info, wanted)
    n = largest.run.info["n_parameters"]
    afford(
        need,
        device,
        max_memory,
        f"Ñ={n}: the matrices [Ñ, Ñ] and their assembly",
        "take --only, or --inertia",
    )
    session.note(
        f"{need / GIB:.3g} GiB for the matrices of Ñ={n}, as many runs as there are one after the other"
    )


def _tell(session: Session, spectra: Sequence[Spectrum]) -> None:
    names = [f"r{i:04d}" for i in range(len(spectra))]
    infos = [one.info for one in spectra]
    if len(spectra) > COLUMNS_AT_MOST:
        session.table(
            ["run", *SHORT], [[n, *(info[f] for f in SHORT.values())] for n, info in zip(names, infos)]
        )
        return
    rows = [[label, *(info[field] for info in infos)] for label, field in WHOLE.items()]
    session.table(["", *names], rows)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
