"""A group of options is declared once, read by typer as single options, and handed to the command as one value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from jamtools.cli.common.groups import Arithmetic, Streams, TrainingGroup, from_values, grouped
from jamtools.cli.common.options import integer_option
from jamtools.protocols import PROTOCOLS, TrainingOptions


@dataclass(frozen=True)
class Pair:
    left: Annotated[int, integer_option("--left", "-l", help="One.")] = 1
    right: Annotated[int, integer_option("--right", help="The other.")] = 2


def show_pair(name: str = "nobody", *, pair: Pair, last: bool = False) -> str:
    """Show the arguments."""
    return f"{name} {pair} {last}"


def run(command, line: str) -> str:
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @grouped
    def printed(
        name: Annotated[str, typer.Argument()] = "nobody",
        *,
        pair: Pair,
        last: Annotated[bool, typer.Option()] = False,
    ) -> None:
        print(command(name, pair=pair, last=last))

    return CliRunner().invoke(app, line.split()).output.strip()


def test_typer_reads_a_parameter_for_each_field_in_order():
    names = list(inspect.signature(grouped(show_pair)).parameters)
    assert names == ["name", "left", "right", "last"]


def test_the_command_gets_the_group_from_the_command_line():
    assert run(show_pair, "me -l 7 --last") == f"me {Pair(7, 2)} True"


def test_a_field_has_its_default_where_its_option_is_not_given():
    assert run(show_pair, "") == f"nobody {Pair()} False"


def test_python_calls_a_grouped_command_with_fields_by_name():
    assert grouped(show_pair)("me", right=5) == f"me {Pair(1, 5)} False"


def test_the_name_and_the_help_text_of_the_command_are_kept():
    flat = grouped(show_pair)
    assert (flat.__name__, flat.__doc__) == ("show_pair", "Show the arguments.")


def test_two_groups_with_one_field_are_an_error_when_the_command_is_declared():
    def command(*, one: Pair, two: Pair) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'left'"):
        grouped(command)


def test_a_group_is_collected_from_values_among_others():
    assert from_values(Pair, {"left": 3, "right": 4, "other": 5}) == Pair(3, 4)


@pytest.mark.parametrize("group", [Streams, Arithmetic, TrainingGroup])
def test_every_field_of_a_group_is_an_option_with_a_default(group):
    parameters = inspect.signature(grouped(_taking(group))).parameters
    assert list(parameters) == [field.name for field in fields(group)]
    for parameter in parameters.values():
        assert parameter.default is not parameter.empty
        assert [type(item).__name__ for item in parameter.annotation.__metadata__] == ["OptionInfo"]


def _taking(group):
    def command(*, options) -> None: ...

    command.__annotations__["options"] = group
    return command


def test_a_training_without_options_has_the_default_options():
    assert TrainingGroup().options() == TrainingOptions()
    assert not TrainingGroup().normalises


def test_an_option_takes_precedence_over_the_protocol_and_a_value_by_name_over_both():
    training = TrainingGroup(protocol="paper-cross-entropy", momentum=0.9)
    protocol = PROTOCOLS["paper-cross-entropy"]
    options = training.options(measurements=7)
    assert (options.loss, options.momentum, options.measurements) == (protocol.loss, 0.9, 7)
    assert TrainingGroup(steps=10).options(steps=20).steps == 20
    assert training.normalises


def test_the_margin_and_the_schedule_are_options_of_every_training():
    training = TrainingGroup(epsilon=0.3, lr_schedule=(500, 2.0), lr_floor=1e-3)
    options = training.options()
    assert options.epsilon == 0.3
    assert (options.schedule.every, options.schedule.factor, options.schedule.floor) == (500, 2.0, 1e-3)
