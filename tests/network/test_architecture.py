from __future__ import annotations

from jamtools.network.activations import ACTIVATIONS
from jamtools.network.architecture import ACTIVATION_NAMES


def test_every_named_activation_has_its_functions():
    assert tuple(ACTIVATIONS) == ACTIVATION_NAMES
