"""Labels name what differs, equal labels mean one group, and groups can be told apart without colours."""

from __future__ import annotations

import pytest

from jamtools.figures.groups import labels_of, looks_of, members_of, steps_in_words


def test_a_label_names_the_fields_that_differ():
    infos = [{"P": 4, "width": 2, "seed": 0}, {"P": 6, "width": 2, "seed": 1}]
    assert labels_of(infos, ("width", "P")) == ["$P$ = 4", "$P$ = 6"]
    assert labels_of(infos) == ["", ""]
    assert labels_of(infos, ("seed",)) == ["seed 0", "seed 1"]


def test_a_setting_is_named_only_where_groups_would_have_equal_labels_otherwise():
    """newton has no learning rate of its own: its name says all."""
    adam, newton = (
        {"optimizer": name, "settings": {"schedule": {"lr": lr}}}
        for name, lr in (("adam", 0.1), ("newton", 0.2))
    )
    slow = {"optimizer": "adam", "settings": {"schedule": {"lr": 0.01}}}
    assert labels_of([adam, newton]) == ["adam", "newton"]
    assert labels_of([adam, slow]) == [r"$\eta$ = 0.1", r"$\eta$ = 0.01"]


def test_different_data_have_different_labels_also_where_one_of_them_is_not_named():
    infos = [{"data": "random d=10"}, {"data": "mnist parity pca 10"}, {"d": 10}]
    assert labels_of(infos) == ["random d=10", "mnist parity pca 10", "unnamed data"]


def test_sizes_that_would_make_too_many_groups_are_a_range_in_the_label():
    infos = [{"depth": depth, "width": 5, "P": P} for depth in (2, 3) for P in (100, 200, 300)]
    assert labels_of(infos, ("width", "P"), most=6) == [f"$L$ = {i['depth']}, $P$ = {i['P']}" for i in infos]
    assert labels_of(infos, ("width", "P"), most=5) == [
        f"$L$ = {i['depth']}, $P$ = 100 to 300" for i in infos
    ]


def test_fields_asked_for_make_the_only_groups():
    infos = [{"depth": 2, "loss": "hinge", "seed": 0}, {"depth": 3, "loss": "cross-entropy", "seed": 1}]
    assert labels_of(infos, by=("seed",)) == ["seed 0", "seed 1"]
    assert labels_of(infos, by=()) == ["", ""]


@pytest.mark.parametrize("n", [2, 4, 5, 10])
def test_each_group_has_its_own_colour_and_marker(n):
    looks = looks_of(["b", *map(str, range(n)), "b"])
    assert next(iter(looks)) == "b" and len(looks) == n + 1
    assert len({str(look.colour) for look in looks.values()}) == n + 1
    assert len({look.marker for look in looks.values()}) == min(n + 1, 10)


def test_members_stand_under_their_label_in_order():
    assert members_of(["b", "a", "b"]) == {"b": [0, 2], "a": [1]}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (900, "900"),
        (1000, "$10^{3}$"),
        (30000, r"$3\cdot10^{4}$"),
        (1500, r"$1.5\cdot10^{3}$"),
        (10**6, "$10^{6}$"),
    ],
)
def test_steps_are_written_as_powers_of_ten(steps, words):
    assert steps_in_words(steps) == words
