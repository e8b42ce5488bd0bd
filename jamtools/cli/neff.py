"""jam-neff: the effective number of parameters of each run, as JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Arithmetic, Streams, grouped
from jamtools.cli.common.options import Sources, Where, real_option
from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session

if TYPE_CHECKING:
    import torch

    from jamtools.io.read import Member

NAME = "jam-neff"
app = new_app()

#: What a line holds of the rank: fields of network.effective.Rank.
RANK_FIELDS = (
    "n_effective", "rank_gap", "tolerance", "n_silent", "n_columns", "n_patterns", "stopped_early",
)  # fmt: skip

All = Annotated[bool, typer.Option("--all", help="Use every column of G: no early stop.")]
Tolerance = Annotated[
    float | None,
    real_option(
        "--tolerance",
        help="Singular values below X times the largest count as zero; by default max(shape)·eps.",
    ),
]


@app.command()
@grouped
def neff(
    files: Sources = None,
    *,
    where: Where = None,
    whole: All = False,
    tolerance: Tolerance = None,
    arithmetic: Arithmetic,
    streams: Streams,
) -> None:
    """Compute the effective number of parameters, N_eff = rank G, of each run.

    G holds the gradient of f with respect to the parameters, at every training pattern and at patterns
    displaced from it along every input axis. Generically its rank is Ñ for a smooth activation, and Ñ minus
    one for each hidden ReLU neuron; dead and always active neurons lower it further. Each run gives one JSON line.

    At fixed norm it is the rank on the tangent space of the sphere: one less for a smooth activation, and for ReLU
    at a minimum, where the weights into each neuron and out of it have the same norm.

    rank_gap is the ratio of the singular values on the two sides of the cut: s_r over the larger of s_{r+1}
    and s_1·eps (at full rank, over s_1·eps). A clear rank has about 10^12; below 1000 the rank is not well
    defined. Columns of G are used until two blocks of max(500, Ñ) columns add no rank. All columns are used when
    P(d+1) < 4Ñ or with --all. The memory, O(Ñ²), does not depend on P. Neurons are listed as [layer, neuron],
    layers from 1 and neurons from 0. n_silent counts the parameters that have no gradient at any pattern; two
    neurons that are never active together cause such parameters.

    \b
    Example:
      jam-data random -P 1000 -d 10 | jam-train --width 10 --depth 3 | jam-neff
      jam-neff runs/*.safetensors | jq .n_effective
    """
    session = Session(NAME, streams)

    members, _ = read_members(session, files, where)
    largest = max((member.run.info["n_parameters"] ** 2 for member in members), default=0)
    place = session.torch_setup(arithmetic, array_size=largest)
    records = []
    with session.progress(NAME, len(members)) as update:
        for i, member in enumerate(members):

            def watch(columns: int, share: float, i: int = i, name: str = member.name) -> None:
                update(i + share, f"{i} of {len(members)} runs finished, {columns} columns of G of {name}")

            with member.naming():
                records.append(_record(member, whole, tolerance, place, session, watch))
    session.write_json(records)
    session.records_table("neff", records)


def _record(
    member: Member,
    whole: bool,
    tolerance: float | None,
    place: tuple[torch.device, torch.dtype],
    session: Session,
    watch: Callable[[int, float], None],
) -> dict[str, Any]:
    """The JSON line of a run; watch: called with the number of columns of G so far, and the share of all."""
    from jamtools.network import effective
    from jamtools.network.problem import Problem

    problem = Problem.of(member.run, member.data, *place)
    theta, x, arch = problem.tensor(member.run.theta), problem.x, problem.arch
    head = _run_fields(member, arch.n_effective)
    if not theta.isfinite().all():
        session.note(f"{member.name}: the run diverged: its parameters are not finite, and G has no rank")
        return {**head, **dict.fromkeys(RANK_FIELDS), "dead": [], "always_on": []}
    total = len(x) * (arch.d + 1) * arch.outputs
    rank = effective.effective_parameters(
        theta, x, arch, whole, tolerance, lambda done: watch(done, done / total)
    )
    if rank.rank_gap < effective.CLEAR_RANK_GAP:
        session.note(
            f"{member.name}: rank_gap {rank.rank_gap:.2g}, expected above 1000: the rank is not well defined; "
            "try --all or another --tolerance"
        )
    dead, always_on = effective.stuck_neurons(theta, x, arch)
    measured = {name: getattr(rank, name) for name in RANK_FIELDS}
    return {**head, **measured, "dead": dead, "always_on": always_on}


def _run_fields(member: Member, expected: int) -> dict[str, Any]:
    """What the line holds of the run itself."""
    info = member.run.info
    names = ("data", "d", "width", "depth", "P", "activation", "seed", "n_parameters", "n_hidden")
    head = {"kind": "neff", "run": member.name, **{name: info.get(name) for name in names}}
    return {**head, "n_effective_expected": expected}


def main() -> None:
    """The process jam-neff."""
    run(app, NAME)


if __name__ == "__main__":
    main()
