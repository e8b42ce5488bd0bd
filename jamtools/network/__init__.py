"""The network f(x; W): its derivatives, its symmetries, its loss and its numbers of parameters."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.network.activations import Activation as Activation
    from jamtools.network.architecture import Architecture as Architecture
    from jamtools.network.effective import Rank as Rank
    from jamtools.network.effective import effective_parameters as effective_parameters
    from jamtools.network.effective import stuck_neurons as stuck_neurons
    from jamtools.network.initialisation import initial_parameters as initial_parameters
    from jamtools.network.loss import Loss as Loss
    from jamtools.network.passes import ForwardPass as ForwardPass
    from jamtools.network.problem import Evaluation as Evaluation
    from jamtools.network.problem import Problem as Problem
    from jamtools.network.symmetry import ScaleGenerators as ScaleGenerators
    from jamtools.network.symmetry import balanced as balanced
    from jamtools.network.symmetry import scale_generators as scale_generators

_OWNERS = {
    "Activation": "activations",
    "Architecture": "architecture",
    "Rank": "effective",
    "effective_parameters": "effective",
    "stuck_neurons": "effective",
    "initial_parameters": "initialisation",
    "Loss": "loss",
    "ForwardPass": "passes",
    "Evaluation": "problem",
    "Problem": "problem",
    "ScaleGenerators": "symmetry",
    "balanced": "symmetry",
    "scale_generators": "symmetry",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
