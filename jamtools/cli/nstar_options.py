"""What the options of jam-nstar search ask for together: what a plan checks, before its tasks do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from jamtools.cli.common.options import check_optimizer, refuse
from jamtools.random_streams import FRESH_SEEDS

if TYPE_CHECKING:
    from jamtools.transition.trial import Question


#: The options that go to the settings of the trainings as they are.
SETTINGS = ("loss", "init", "optimizer", "momentum", "lr", "batch")


def check_search(context: typer.Context) -> None:
    """Refuses options that do not go together."""
    asked = context.params
    check_optimizer(context, asked["optimizer"])
    if asked["optimizer"] == "newton":
        refuse(context, ["certify"], "--optimizer newton, which certifies its own ends")
        refuse(context, ["times"], "--optimizer newton, whose steps are no time")
    if asked["vary"] == "width":
        refuse(context, ["width"], "--vary width, which finds the width")
    else:
        refuse(context, ["patterns", "max_width"], "--vary patterns, which takes the dataset's first P")
        if asked["width"] is None:
            raise typer.BadParameter("got --vary patterns without a network, expected --width LIST with it")
        if asked["method"] == "descend":
            raise typer.BadParameter("got --method descend with --vary patterns, expected bisect")
    if max(asked["seeds"]) >= FRESH_SEEDS:
        raise typer.BadParameter(
            f"got the seed {max(asked['seeds'])}, expected less than {FRESH_SEEDS}: larger ones are sampled"
        )


def question_of(asked: Mapping[str, Any]) -> Question:
    """What is asked of the transition; InputError where that makes no sense."""
    from jamtools import protocols
    from jamtools.transition.trial import Question

    protocol, times = asked["protocol"], asked["times"]
    settings = protocols.with_options(
        protocols.PROTOCOLS[protocol] if protocol else protocols.Settings(),
        **{name: asked[name] for name in SETTINGS},
        steps=asked["steps"] or (max(times) if times and not protocol else None),
        measurements=2,
    )
    return Question(
        asked["depth"],
        asked["activation"],
        settings,
        tuple(sorted(asked["seeds"])),
        asked["success"] or protocols.usual_success(settings.loss),
        asked["max_width"],
        protocols.batch_norm(protocol, asked["batch_norm"]),
        asked["certify"],
        tuple(sorted(times or ())),
    )
