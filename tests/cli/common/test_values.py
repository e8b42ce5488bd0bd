"""How the values of options are written, and the usage errors of values that make no sense."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from jamtools.cli.common import values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("10k", 10_000),
        ("1.5M", 1_500_000),
        (".5M", 500_000),
        ("2G", 2_000_000_000),
        (7, 7),
        (" 12", 12),
        ("18446744073709551617", 2**64 + 1),
        ("2.0", 2),
    ],
)
def test_an_integer_may_have_a_decimal_suffix(text, value):
    assert values.integer(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e4", 10_000), ("2e6", 2_000_000), ("1.5e3", 1_500), ("1E3", 1_000), ("1e+3", 1_000), ("-2e1", -20)],
)
def test_an_integer_may_be_written_with_a_power_of_ten(text, value):
    assert values.integer(text) == value


@given(st.integers(-(10**20), 10**20), st.integers(0, 30))
def test_a_power_of_ten_is_exact(mantissa, exponent):
    assert values.integer(f"{mantissa}e{exponent}") == mantissa * 10**exponent


@pytest.mark.parametrize(
    "text", ["", "k", "x", ".", "e3", "1e", "1e-3", "1e1000000000", "10K", "1_0", "nan", "inf"]
)
def test_a_text_that_is_no_integer_is_refused(text):
    with pytest.raises(typer.BadParameter, match="expected an integer such as 800, 10k or 2M"):
        values.integer(text)


@pytest.mark.parametrize("text", ["1.5", "1.2345k", "1.25e1"])
def test_a_fraction_of_an_integer_is_refused(text):
    with pytest.raises(typer.BadParameter, match=f"got '{text}', expected a whole number"):
        values.integer(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1K", 1024), ("2MiB", 2 * 1024**2), ("8G", 8 * 1024**3), ("0.5GB", 2**29)]
)
def test_a_number_of_bytes_has_binary_suffixes(text, value):
    assert values.byte_count(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1M", "inf", "many", "G"])
def test_a_text_that_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(typer.BadParameter, match="expected bytes such as 500M or 8G"):
        values.byte_count(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", (3,)),
        ("10,12,14", (10, 12, 14)),
        ("0:3", (0, 1, 2)),
        ("100:1000:300", (100, 400, 700)),
        ("3,1:4,2", (3, 1, 2)),
        ("1k,0:2", (1000, 0, 1)),
        ("1e3,2e3:1e4:4e3", (1000, 2000, 6000)),
    ],
)
def test_a_list_holds_integers_and_half_open_ranges_each_value_once(text, expected):
    assert values.integers(text) == expected


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_a_list_is_written_as_it_is_read(numbers):
    listed = values.Integers(numbers)
    assert values.integers(str(listed)) == values.integers(listed) == listed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:5", "names no integer"),
        ("1:9:0", "with a step above 0"),
        ("1:2:3:4", "expected start:stop or start:stop:step"),
        ("1,,2", "expected an integer"),
    ],
)
def test_a_list_without_a_meaning_is_refused(text, message):
    with pytest.raises(typer.BadParameter, match=message):
        values.integers(text)


def test_values_of_a_list_below_the_minimum_are_refused():
    with pytest.raises(typer.BadParameter, match="got 0, expected at least 1"):
        values.positives("2,0")
    with pytest.raises(typer.BadParameter, match="got -2, expected at least 0"):
        values.naturals("-2,3")


def test_durations_have_units():
    texts = ("90s", "5m", "1.5h", "2d", "7", "0.05s")
    assert [values.duration(text) for text in texts] == [90, 300, 5400, 172800, 7, 0.05]


@pytest.mark.parametrize(
    ("parser", "accepted", "refused"),
    [
        (values.above_zero, [1e-300, 5], [0, -1, "inf", "nan"]),
        (values.finite, [-2, 0, 5], ["inf", "-inf", "nan", "much"]),
        (values.not_negative, [0, 5], [-1, "inf", "nan"]),
        (values.below_one, [0, 0.999], [1, -0.1, "nan"]),
        (values.fraction, [1e-9, 1], [0, 1.001, "nan"]),
        (values.confidence, [0.5, 0.999], [0, 1, "nan"]),
        (values.duration, ["1s"], ["0s", "-1m", "nan", "soon"]),
    ],
)
def test_a_real_number_has_its_range(parser, accepted, refused):
    for value in accepted:
        parser(value)
    for value in refused:
        with pytest.raises(typer.BadParameter, match="expected"):
            parser(value)


def test_a_schedule_is_a_number_of_steps_and_a_factor():
    assert values.schedule("250k:10") == values.schedule("2.5e5:1e1") == (250_000, 10.0)
    with pytest.raises(typer.BadParameter, match="expected STEPS:FACTOR"):
        values.schedule("250k")


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3"])
def test_a_device_is_known_by_its_name(name):
    assert values.device_name(name) == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:1", ""])
def test_another_device_is_refused(name):
    with pytest.raises(typer.BadParameter, match="expected auto, cpu, cuda or cuda:N"):
        values.device_name(name)
