"""The shape of a network, and its parameter counts.

    Ñ = h(d+1) + (L-1) h (h+1) + C (h+1), and 2 h L more with batch normalisation;   each 1 is that of a bias
    N = Ñ - (hidden neurons) for ReLU: one scale symmetry each, ρ(Λz) = Λρ(z)
    N = Ñ for tanh;   N = C (d+1) for a linear ρ: the parameters of one affine map
    on the sphere ‖W‖ = R:  N is less by one, for its radius is no parameter
    L = 0:  f = W x + b, the perceptron;   without bias on the sphere  N = d - 1

With a fixed norm the scalings of a ReLU neuron stay symmetries of f. They change ‖W‖ except where the weights into the
neuron and out of it have the same norm, as at every minimum (network/sphere.py). So they do not enter N there either.

Batch normalisation adds nothing to N: on a given training set a normalised neuron is an affine map of its inputs, as a
plain neuron is. A normalised neuron has two parameters more than such a map needs.

This module does not import torch: commands that only count parameters start without it.

Source: arXiv:1809.09349, section II and appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jamtools.errors import InputError, Remedy

if TYPE_CHECKING:
    from jamtools.network.activations import Activation

#: The names of the activations ρ; their functions are in activations.py, which imports torch.
ACTIVATION_NAMES = ("relu", "tanh", "linear")


@dataclass(frozen=True)
class Architecture:
    """A fully connected network of `depth` hidden layers of `width` neurons, d inputs, C outputs.

    norm: ‖W‖ = R, if W is confined to the sphere of that radius; None for free weights. bias: whether neurons have biases.
    Without hidden layers f is linear: the width, which has no meaning there, is d, and the activation is linear, whatever
    is given. Raises InputError for sizes below 1, a depth below 0, a norm that is not positive, a network without any
    effective parameter, and batch normalisation with a fixed norm, without biases or without hidden layers.
    """

    d: int
    width: int
    depth: int
    activation: str = "relu"
    outputs: int = 1
    batch_norm: bool = False
    norm: float | None = None
    bias: bool = True

    def __post_init__(self) -> None:
        for name, least in (("d", 1), ("width", 1), ("depth", 0), ("outputs", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.activation not in ACTIVATION_NAMES:
            raise InputError(f"activation {self.activation!r}, expected one of {', '.join(ACTIVATION_NAMES)}")
        if self.depth == 0:
            object.__setattr__(self, "width", self.d)
            object.__setattr__(self, "activation", "linear")
        if self.norm is not None and not 0 < self.norm < math.inf:
            raise InputError(f"norm {self.norm:g}, expected a positive number")
        if self.batch_norm:
            self._check_batch_norm()
        if self.n_effective < 1:
            raise InputError("one weight of fixed norm, expected more parameters: it cannot move")

    def _check_batch_norm(self) -> None:
        if self.norm is not None:
            raise InputError(
                "a fixed norm with batch normalisation, expected one: the scale of normalised weights has no effect"
            )
        if not self.bias:
            raise InputError(
                "batch normalisation without biases, expected them: the shifts of the normalisation are biases"
            )
        if self.depth == 0:
            raise InputError(
                "batch normalisation without hidden layers, expected one layer or more: it acts on hidden neurons",
                Remedy.PLAIN_NETWORK,
            )

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Architecture:
        """The architecture that the metadata of a run describes.

        Raises InputError when the stored number of parameters is not that of the architecture.
        """
        arch = cls(
            info["d"],
            info["width"],
            info["depth"],
            info["activation"],
            info.get("outputs", 1),
            info["batch_norm"],
            info.get("norm"),
            info.get("bias", True),
        )
        if arch.n_parameters != info["n_parameters"]:
            raise InputError(
                f"a run of {info['n_parameters']} parameters, expected {arch.n_parameters} for its d, width and "
                "depth: the file is damaged",
                Remedy.TRAIN_AGAIN,
            )
        return arch

    @property
    def rho(self) -> Activation:
        """The activation and its derivatives, as functions of tensors."""
        from jamtools.network.activations import ACTIVATIONS

        return ACTIVATIONS[self.activation]

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of the weight of each layer."""
        sizes = [self.d] + [self.width] * self.depth + [self.outputs]
        return list(zip(sizes[1:], sizes[:-1], strict=True))

    @property
    def n_parameters(self) -> int:
        """Ñ, the number of all parameters."""
        return self._n_plain + (2 * self.n_hidden if self.batch_norm else 0)

    @property
    def _n_plain(self) -> int:
        """The number of weights and biases, without gains and shifts."""
        return sum(out * (fan_in + self.bias) for out, fan_in in self.shapes)

    @property
    def n_hidden(self) -> int:
        """The number of hidden neurons."""
        return self.width * self.depth

    @property
    def n_effective(self) -> int:
        """N, the generic number of effective parameters."""
        n = self._n_plain - (0 if self.norm is None else 1)
        if self.activation == "linear":
            return min(n, self.outputs * (self.d + self.bias))
        return n - (self.n_hidden if self.activation == "relu" else 0)

    def normalised(self, layer: int) -> bool:
        """Whether a layer (from 0) has a gain and a shift."""
        return self.batch_norm and layer < self.depth

    def require_plain(self) -> None:
        """Raises InputError with batch normalisation, which couples the patterns of a batch."""
        if self.batch_norm:
            raise InputError(
                "got a run with batch normalisation, expected one whose patterns do not depend on each other",
                Remedy.PLAIN_NETWORK,
            )
