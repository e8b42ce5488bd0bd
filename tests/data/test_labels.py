"""Rules from numbers to labels ±1, and the balanced order of patterns, against plain loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamtools.data.labels import (
    LabelRule,
    balanced_order,
    class_counts,
    class_of,
    encode_labels,
    parse_labels,
)
from jamtools.errors import InputError


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64])
def test_labels_follow_their_rule(kind: type) -> None:
    digits = np.array([3, 0, 1, 4, 4, 2], dtype=kind)
    parity = [+1 if int(v) in (1, 3) else -1 for v in digits]
    above = [+1 if v >= 3 else -1 for v in digits]
    one_hot = [[+1 if v == c else -1 for c in range(5)] for v in digits]
    assert encode_labels(digits, "parity").tolist() == parity
    assert encode_labels(digits, "threshold:3").tolist() == above
    assert encode_labels(digits, "classes").tolist() == one_hot
    assert encode_labels(digits, "classes").dtype == np.float64


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([0, 0.5], "parity"),
        ([0, np.nan], "parity"),
        ([0, np.inf], "threshold:1"),
        ([-1, 1], "classes"),
        ([[0, 1]], "classes"),
    ],
)
def test_numbers_that_do_not_fit_their_rule_are_refused(values: list, rule: str) -> None:
    with pytest.raises(InputError, match="expected"):
        encode_labels(np.array(values), rule)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 2**40))
@settings(max_examples=80, deadline=None)
def test_every_prefix_is_balanced_while_the_smallest_class_lasts(classes: list[int], seed: int) -> None:
    order = balanced_order(np.array(classes), seed)
    assert sorted(order) == list(range(len(classes)))
    sizes, taken = Counter(classes), Counter(dict.fromkeys(classes, 0))
    for index in order:
        taken[classes[index]] += 1
        left = [taken[c] for c in sizes if taken[c] < sizes[c]]
        if left:  # of every class that is not used up, as many were taken as of any other, within one
            assert max(taken.values()) - min(left) <= 1


def test_the_seed_determines_the_subset() -> None:
    classes = np.arange(100) % 2
    first, repeated, other = (balanced_order(classes, seed)[:10] for seed in (0, 0, 1))
    assert np.array_equal(first, repeated)
    assert set(first) != set(other)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("parity", LabelRule("parity")),
        ("classes", LabelRule("classes")),
        ("threshold:-3", LabelRule("threshold", -3)),
    ],
)
def test_the_text_of_a_rule_is_parsed(text: str, rule: LabelRule) -> None:
    assert parse_labels(text) == rule


@pytest.mark.parametrize("text", ["", "odd", "parity:2", "threshold", "threshold:", "threshold:x"])
def test_a_text_that_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected parity, threshold:K or classes"):
        parse_labels(text)


def test_classes_are_counted_by_sign_or_by_column() -> None:
    signs = np.array([1.0, -1.0, 1.0])
    one_hot = np.array([[1.0, -1, -1], [-1, -1, 1], [-1, -1, 1]])
    assert class_counts(signs) == [1, 2] and class_counts(one_hot) == [1, 0, 2]
    assert class_of(signs).tolist() == [1, -1, 1] and class_of(one_hot).tolist() == [0, 2, 2]
