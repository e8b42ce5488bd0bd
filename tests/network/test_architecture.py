from __future__ import annotations

from dataclasses import replace

import pytest

from jamtools.errors import InputError
from jamtools.network.activations import ACTIVATIONS
from jamtools.network.architecture import ACTIVATION_NAMES, Architecture


def test_every_named_activation_has_its_functions():
    assert tuple(ACTIVATIONS) == ACTIVATION_NAMES


def test_the_paper_s_example_has_8008_parameters_and_7855_effective_ones():
    arch = Architecture(51, 51, 3)
    assert (arch.n_parameters, arch.n_hidden, arch.n_effective) == (8008, 153, 7855)
    assert Architecture(51, 51, 3, "tanh").n_effective == 8008


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"depth": -1},
        {"d": 0},
        {"activation": "gelu"},
        {"batch_norm": True, "bias": False},
        {"batch_norm": True, "depth": 0},
        {"d": 1, "depth": 0, "bias": False, "norm": 1.0},
    ],
    ids=str,
)
def test_impossible_architectures_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Architecture(**{"d": 2, "width": 2, "depth": 1, **wrong})


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_a_network_without_biases_has_their_number_of_parameters_less(activation, depth, outputs):
    arch = Architecture(5, 4, depth, activation, outputs)
    bare = replace(arch, bias=False)
    n_biases = arch.n_hidden + outputs
    assert arch.n_parameters - bare.n_parameters == n_biases
    # one affine map of 5 inputs has a bias for each output
    fewer = outputs if activation == "linear" or depth == 0 else n_biases
    assert arch.n_effective - bare.n_effective == fewer


def test_the_perceptron_of_fixed_norm_without_bias_has_one_parameter_less_than_inputs():
    for d in (2, 7, 100):
        arch = Architecture(d, d, 0, norm=1.0, bias=False)
        assert (arch.n_parameters, arch.n_hidden, arch.n_effective) == (d, 0, d - 1)
        assert arch.shapes == [(1, d)]


@pytest.mark.parametrize(("width", "activation"), [(1, "relu"), (9, "tanh"), (4, "linear")])
def test_without_hidden_layers_width_and_activation_have_no_meaning(width, activation):
    assert Architecture(4, width, 0, activation) == Architecture(4, 4, 0, "linear")
