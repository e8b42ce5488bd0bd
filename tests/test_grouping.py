"""Names of data and groups of records."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from jamtools.data.arrays import array_dataset
from jamtools.data.images import Images, Recipe, image_dataset
from jamtools.data.sphere import random_gaussian, random_sphere
from jamtools.errors import InputError
from jamtools.grouping import (
    KNOWN_IMAGES,
    RUN_GROUP_FIELDS,
    check_fields_of_groups,
    data_name,
    data_of,
    groups_of,
    pooled_in_words,
    pooled_values,
    value_of,
    with_data,
)
from jamtools.protocols import TrainingOptions, with_options

RNG = np.random.default_rng(0)
IMAGES = Images(RNG.integers(0, 256, (60, 9), np.uint8), np.arange(60, dtype=np.uint8) % 10, 50)


def test_random_data_are_named_by_their_dimension_and_neither_by_seed_nor_by_size():
    names = {data_name(random_sphere(P, 5, seed, P_test=P // 2).info) for P in (4, 9) for seed in (0, 1)}
    assert names == {"random d=5"}
    assert data_name(random_sphere(4, 5, labels="balanced").info) == "random d=5 balanced labels"
    assert data_name(random_gaussian(4, 5, labels="balanced").info) == "random gaussian d=5 balanced labels"


def test_networks_without_biases_are_a_group_and_a_record_without_the_field_has_them():
    records = [{}, {"bias": True}, {"bias": False}, {"no_bias": True}]
    assert list(groups_of(records, ("no_bias",)).values()) == [[0, 1], [2, 3]]
    assert "no_bias" in RUN_GROUP_FIELDS


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("parity", 3), "parity pca 3"),
        (Recipe("threshold:5", 4), "threshold:5 pca 4"),
        (Recipe("parity", 3, whiten=False, sphere=False), "parity pca 3 unwhitened off sphere"),
        (Recipe("classes", None, whiten=False), "classes d=9"),
    ],
)
def test_images_are_named_by_their_origin_labels_and_components(recipe, words):
    digest = IMAGES.fingerprint()
    for P, seed in ((20, 0), (30, 1), (None, 0)):
        name = data_name(image_dataset(IMAGES, recipe, P, seed).info)
        assert name == f"images {digest[:6]} {words}"


def test_mnist_is_known_by_its_pixels():
    (digest,) = KNOWN_IMAGES
    info = image_dataset(IMAGES, Recipe("parity", 3), 20).info
    info["preprocessing"]["sha256"] = digest
    assert data_name(info) == "mnist parity pca 3"


def test_arrays_of_different_origin_have_different_names_and_the_first_patterns_of_one_array_have_one():
    x, y = RNG.normal(size=(2, 8, 3)), np.resize([1.0, -1.0], 8)
    one, other = (data_name(array_dataset({"x": part, "y": y}).info) for part in x)
    assert one != other and all(name.startswith("arrays ") and name.endswith(" d=3") for name in (one, other))
    assert data_name(array_dataset({"x": x[0][:4], "y": y[:4]}).info) == one


def test_data_of_another_source_are_named_by_all_that_was_done_to_them():
    one, other = ({"source": "a", "d": 2, "preprocessing": {"pca": k}} for k in (5, 6))
    assert (data_name(one), data_name(other)) == ("a d=2 pca=5", "a d=2 pca=6")
    assert data_name({}) is data_name(None) is None
    assert data_name({"source": "by hand", "preprocessing": []}, 3) == "by hand d=3"


def test_a_run_without_a_name_of_its_data_gets_it_from_its_training_set():
    dataset = random_sphere(4, 5).info
    assert with_data({"d": 5}, dataset) == {"d": 5, "data": "random d=5"}
    assert with_data({"data": "mine"}, dataset) == {"data": "mine"}


def test_the_digest_of_a_search_is_no_name():
    assert data_of({"n_star": 5, "data": "0123456789ab"}) is None
    assert data_of({"n_star": 5, "data": "0123456789ab", "dataset": "random d=5"}) == "random d=5"
    assert data_of({"data": "random d=5", "dataset": {"source": "random"}}) == "random d=5"


def test_records_that_lack_a_field_join_the_others_only_where_these_agree():
    some = [{"depth": 2, "loss": "hinge"}, {"depth": 2}]
    assert groups_of(some, ("depth", "loss")) == {(2, "hinge"): [0, 1]}
    more = [*some, {"depth": 2, "loss": "cross-entropy"}]
    assert sorted(groups_of(more, ("depth", "loss")).values()) == [[0], [1], [2]]
    assert groups_of(more, ()) == {(): [0, 1, 2]}


def test_groups_are_in_the_order_of_their_values():
    records = [{"P": P} for P in (100, 20, 3)]
    assert list(groups_of(records, ("P",))) == [(3,), (20,), (100,)]


def test_the_steps_of_newton_are_no_time_and_those_of_a_run_are_those_it_was_given():
    run = {"optimizer": "adam", "steps": 17, "settings": {"steps": 100}}
    assert value_of(run, "steps") == 100
    assert value_of({**run, "optimizer": "newton"}, "steps") is None
    assert value_of({"n_star": 3, "optimizer": "adam", "steps": 50}, "steps") == 50


SEARCH = {"n_star": 3, "loss": "hinge", "optimizer": "adam", "protocol": "custom", "steps": 50}


@pytest.mark.parametrize("name", ["lr", "epsilon", "init", "momentum", "batch", "every", "factor", "floor"])
def test_a_search_that_does_not_name_a_setting_has_the_usual_one(name):
    """A run of the same options names them all."""
    settings = asdict(with_options(TrainingOptions(), steps=50).resolve(100))
    run = {"optimizer": "adam", "loss": "hinge", "settings": settings, "epsilon": settings["epsilon"]}
    other = {**SEARCH, "settings": {name: "torch" if name == "init" else 0.75}}
    field = "decay" if name in ("every", "factor", "floor") else name
    assert value_of(SEARCH, field) == value_of(run, field) is not None
    assert sorted(groups_of([SEARCH, other, SEARCH], (field,)).values()) == [[0, 2], [1]]


def test_a_fit_belongs_to_the_searches_of_its_group():
    others = [
        {**SEARCH, "settings": {"lr": 0.5}},
        {**SEARCH, "settings": {"batch": 7}},
        {**SEARCH, "settings": {"factor": 3}},
    ]
    names = ("lr", "batch", "decay")
    for search in [SEARCH, *others]:
        fit = {"slope": 1.0, "loss": "hinge", "optimizer": "adam"} | {
            name: value_of(search, name) for name in names
        }
        assert [len(members) for members in groups_of([search, fit], names).values()] == [2]


@pytest.mark.parametrize("P", [10, 5000])
def test_the_default_batch_of_sgd_does_not_divide_runs_by_their_p(P):
    settings = with_options(TrainingOptions(), optimizer="sgd").resolve(P)
    assert value_of({"optimizer": "sgd", "P": P, "settings": asdict(settings)}, "batch") == "default"
    assert value_of({"optimizer": "sgd", "P": P, "settings": {"batch": 3}}, "batch") == 3


def test_what_is_pooled_is_said_with_its_values():
    records = [{"data": "a", "depth": 2}, {"data": "b", "depth": 2}, {"data": "b", "depth": 3}]
    assert pooled_values(records, RUN_GROUP_FIELDS) == {"data": ["a", "b"], "depth": [2, 3]}
    assert pooled_in_words(records, [[0, 1, 2]], RUN_GROUP_FIELDS) == "data (a, b); depth (2, 3)"
    assert pooled_in_words(records, [[0], [1], [2]], RUN_GROUP_FIELDS) == ""
    stages = [{"epsilon": 0.5 / 2**n} for n in range(10)]
    assert pooled_in_words(stages, [range(10)], ("epsilon",)) == "epsilon (10 values from 0.0009766 to 0.5)"


def test_an_unknown_field_is_refused_with_the_nearest_one():
    check_fields_of_groups([{"depth": 2}], ("depth", "data", "finished"))
    with pytest.raises(InputError, match="no field 'dept'; did you mean depth"):
        check_fields_of_groups([{"depth": 2}], ("dept",))
