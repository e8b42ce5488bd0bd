"""Finds options that may not stand together on a command line."""

from __future__ import annotations

from collections.abc import Iterable

import typer

#: Parameters of hidden layers. They have no meaning where there are none.
HIDDEN_LAYERS_ONLY = ("width", "max_width", "activation", "batch_norm")

#: Parameters of first-order steps. They have no meaning for newton.
FIRST_ORDER_ONLY = ("lr", "lr_schedule", "lr_floor", "momentum", "neighbour_list")


def given_options(context: typer.Context) -> dict[str, str]:
    """The options that stand on the command line, by the names of their parameters: {"lr": "--lr"}."""
    given = {
        parameter.name or "": parameter.opts[0]
        for parameter in context.command.params
        if getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    }
    return given | ({"dataset": "a dataset"} if "dataset" in given else {})


def refuse(context: typer.Context, names: Iterable[str], beside: str) -> None:
    """Raises a usage error if one of these parameters stands on the command line; `beside`: what it conflicts with."""
    given = given_options(context)
    for name in names:
        if name in given:
            raise typer.BadParameter(f"got {given[name]} with {beside}; leave it out")


def check_depth(context: typer.Context, depth: int) -> None:
    """Refuses the options of hidden layers where there are none."""
    if depth == 0:
        refuse(context, HIDDEN_LAYERS_ONLY, "--depth 0, a network without hidden layers: f = W x + b")


def check_margin(epsilon: float | None, norm: str | None) -> None:
    """Refuses a margin of at most 0 for free weights."""
    if epsilon is not None and epsilon <= 0 and norm is None:
        raise typer.BadParameter(
            f"got --epsilon {epsilon:g} with free weights, expected a margin above 0, or --norm R with it: W = 0 "
            "satisfies every pattern"
        )


def check_norm(normalises: bool, norm: str | None) -> None:
    """Refuses a fixed norm together with batch normalisation."""
    if normalises and norm is not None:
        raise typer.BadParameter(
            f"got --norm {norm} with batch normalisation, expected one of them: the scale of normalised weights has no "
            "effect; add --no-batch-norm, or leave --norm out"
        )


def check_optimizer(context: typer.Context, optimizer: str | None) -> None:
    """Refuses the options of first-order steps together with newton."""
    if optimizer == "newton":
        refuse(context, FIRST_ORDER_ONLY, "--optimizer newton, which takes no first-order steps")
