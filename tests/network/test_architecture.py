from __future__ import annotations

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


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": 0}, {"d": 0}, {"activation": "gelu"}], ids=str)
def test_impossible_architectures_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Architecture(**{"d": 2, "width": 2, "depth": 1, **wrong})
