"""jam-hessian: runs in, the spectra of H, H0 and Hp out."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.options import Debug, Device, Dtype, Output, Quiet, Sources, Threads, Version
from jamtools.cli.session import Session

NAME = "jam-hessian"
app = new_app()

COLUMNS = {
    "run": "run", "N": "n_effective_expected", "N_Δ": "n_unsatisfied", "rank H0": "rank_H0", "gap H0": "gap_H0",
    "N_-(Hp)": "n_negative_Hp", "C0": "c0", "N_-(H)": "n_negative_H", "N_c": "n_cusps", "bound holds": "bound_holds",
    "trace err": "trace_error", "Frob. err": "frobenius_error",
}  # fmt: skip


@app.command()
def hessian(
    files: Sources = None,
    method: Annotated[Literal["exact"], typer.Option("--method", help="How to find the spectrum.")] = "exact",
    matrices: Annotated[bool, typer.Option("--matrices", help="Keep the matrices H0 and Hp too.")] = False,
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

    All eigenvalues of the three matrices, with trace and Frobenius norm checked; the number of negative modes
    with the scale symmetries of ReLU projected out; rank, kernel and gap of H0.
    """
    session = Session(NAME, output, quiet, binary=True)
    from jamtools import store
    from jamtools.hessian import spectrum_of

    everyone, provenance = store.read_ensemble(files)
    members = [member for member in everyone if member.run.info["status"] != "diverged"]
    if len(members) < len(everyone):
        session.note(f"{len(everyone) - len(members)} diverged run(s) left out: they have no spectrum")
    where = session.torch_setup(device, dtype, threads)
    spectra = []
    with session.progress(NAME, total=len(members)) as update:
        for i, member in enumerate(members):
            update(i, f"{member.name} Ñ={member.run.info['n_parameters']}")
            spectra.append(spectrum_of(member.run, member.data, *where, matrices=matrices))
    session.write(store.spectra_bytes(spectra, session.provenance(provenance)))
    rows = [
        [name, *(spectrum.info[field] for field in list(COLUMNS.values())[1:])]
        for name, spectrum in zip((f"r{i:04d}" for i in range(len(spectra))), spectra)
    ]
    session.table(COLUMNS, rows)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
