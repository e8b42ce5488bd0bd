"""The number of cusps N_c: hidden pre-activations that sit at zero and hold a direction.

    N_c = #{(µ, j, n) : |z_jn(x_µ)| ≤ τ s_jn,  ∂L/∂f(x_µ) ≠ 0,  f(x_µ) depends on z_jn}  -  smooth background

    s_jn = median_µ Σ_m |W_jnm| |a_{j-1,m}(x_µ)| + |b_jn|

The scale s_jn of a neuron is the size that its pre-activation would have if its terms did not cancel. Under the scale
symmetry of ReLU it changes as z_jn does, so that N_c is a property of the function f. No neuron that ran away sets the scale
of another one, and no pattern far away that of its neuron. Round-off, and the steps of a training, move z_jn in proportion
to its terms.

At a minimum the cusps are at zero to round-off, and nothing is subtracted. A cusp is idle where at its pattern some layer
above has no neuron that is on or at a cusp; so are all cusps below the dead layer of a dead pattern. Without biases, z = 0
above the dead layer of a dead pattern is no cusp: it does not move.

Source: arXiv:1809.09349, section V; none for the scale of a neuron, own definition above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.passes import ForwardPass, backward, forward, layers_of
from jamtools.network.problem import Problem
from jamtools.records import Dataset, Run
from jamtools.states import is_jammed, is_satisfied

#: The tolerances to choose from by default, in scales of the neuron. A first-order run leaves its cusps within a few
#: learning rates of zero (Adam at 10⁻³: 10⁻⁵ to 10⁻³; at 10⁻⁷: 10⁻⁹ to 10⁻⁶), a minimiser on its way at 10⁻⁹ to 10⁻⁵. No
#: single tolerance would contain all cusps and few of the smooth pre-activations. Above 10⁻³ the background cannot be told.
CUSP_TOLERANCE_CHOICES = 10.0 ** (np.arange(-40, -11) / 4)

#: At a minimum a cusp is active when |z| is at most this, in scales of its neuron. A minimiser leaves cusps at 10⁻¹³. Of
#: networks with 10⁶ smooth pre-activations, one in ten thousand has one of these within this distance.
ACTIVE_CUSP_TOLERANCE = 1e-10

#: The smooth background is measured where |z| lies between these multiples of the tolerance. Larger |z| cannot be used,
#: because the density in the last layers of deep networks bends at 10⁻² of the scale.
BACKGROUND_TOLERANCES = (10**0.5, 10.0)

#: The largest number of patterns in one pass; it bounds the memory.
CUSP_BLOCK_PATTERNS = 4096

#: The scales of the neurons are medians over at most this number of patterns, the first ones; it bounds the memory.
CUSP_SCALE_PATTERNS = 4096


@dataclass(frozen=True)
class LayerCount:
    """The counts of one hidden layer (from 1), over n pairs (pattern, neuron).

    rms: that of z; scales: s_jn of each neuron; n_at_zero: pairs with |z| ≤ τ s_jn; n_with_gradient: those at patterns with
    ∂L/∂f ≠ 0, without idle ones; background: how many of n_with_gradient the smooth density around zero explains; n_cusps:
    the rest, rounded; n_convex: as n_cusps, but of those with ∂L/∂ρ ≥ 0. For a ρ without a kink all but n_at_zero are 0.
    """

    layer: int
    n: int
    rms: float
    scales: tuple[float, ...]
    n_at_zero: int
    n_with_gradient: int
    background: float
    n_cusps: int
    n_convex: int

    @property
    def n_without_gradient(self) -> int:
        return self.n_at_zero - self.n_with_gradient

    def at_minimum(self) -> LayerCount:
        """The same layer where the cusps are at zero to round-off: all of them count, and all of them are convex."""
        return replace(self, background=0.0, n_cusps=self.n_with_gradient, n_convex=self.n_with_gradient)

    def without_gradient(self) -> LayerCount:
        """The same layer where no pattern has a gradient beyond round-off."""
        return replace(self, n_with_gradient=0, background=0.0, n_cusps=0, n_convex=0)


@dataclass(frozen=True)
class CuspCount:
    """N_c of a network over its training set, in total and by layer.

    tolerance: τ; n_most: the number of directions that cusps can hold.
    """

    tolerance: float
    per_layer: tuple[LayerCount, ...]
    n_most: int

    @property
    def n_cusps(self) -> int:
        return sum(layer.n_cusps for layer in self.per_layer)

    @property
    def n_at_zero(self) -> int:
        return sum(layer.n_at_zero for layer in self.per_layer)

    @property
    def n_with_gradient(self) -> int:
        return sum(layer.n_with_gradient for layer in self.per_layer)

    @property
    def n_without_gradient(self) -> int:
        return sum(layer.n_without_gradient for layer in self.per_layer)

    @property
    def n_convex(self) -> int:
        return sum(layer.n_convex for layer in self.per_layer)

    @property
    def background(self) -> float:
        """How many of n_with_gradient a smooth density explains."""
        return sum(layer.background for layer in self.per_layer)

    @property
    def refused(self) -> str | None:
        """Why the count is no N_c, in one line; None where it is one."""
        if self.n_cusps <= self.n_most:
            return None
        return f"{self.n_cusps} pre-activations at zero, more than the {self.n_most} directions that cusps can hold"

    def fields(self) -> dict[str, Any]:
        """The numbers of the metadata of a spectrum; N_c is None with the reason where it is refused."""
        n_cusps, n_convex = (self.n_cusps, self.n_convex) if self.refused is None else (None, None)
        return {
            "n_cusps": n_cusps,
            "n_convex_cusps": n_convex,
            "cusp_background": self.background,
            "cusp_tolerance": self.tolerance,
            "cusps_refused": self.refused,
        }

    def at_minimum(self) -> CuspCount:
        """The count where the cusps are at zero to round-off."""
        return replace(self, per_layer=tuple(layer.at_minimum() for layer in self.per_layer))

    def without_gradient(self) -> CuspCount:
        """The count where no pattern has a gradient beyond round-off."""
        return replace(self, per_layer=tuple(layer.without_gradient() for layer in self.per_layer))


def count_of_run(
    run: Run, data: Dataset, device: torch.device | str = "cpu", tolerance: float | None = None
) -> CuspCount:
    """The cusps at the end of a run, in float64; `data` holds the run's own P patterns.

    At a minimum the tolerance is ACTIVE_CUSP_TOLERANCE, and N_c is the number of cusps of the certificate. A run that is
    satisfied has none: the gradient of its contacts is round-off. tolerance: if given, it replaces this rule and that of
    `count`. Raises InputError with batch normalisation.
    """
    problem = Problem.of(run, data, device, torch.float64)
    theta = problem.tensor(run.theta)
    if tolerance is None and is_jammed(run.info):
        return count(theta, problem, ACTIVE_CUSP_TOLERANCE).at_minimum()
    counted = count(theta, problem, tolerance)
    return counted.without_gradient() if problem.loss.has_margin and is_satisfied(run.info) else counted


def count(
    theta: Tensor, problem: Problem, tolerance: float | None = None, forward_pass: ForwardPass | None = None
) -> CuspCount:
    """The cusps of the network theta [Ñ] at the patterns of a problem.

    tolerance: τ. By default it is the one of CUSP_TOLERANCE_CHOICES with most cusps above the smooth background.
    forward_pass: that of all patterns at theta, if the caller has it already. A smooth ρ has no cusps, but its
    pre-activations at zero are counted too (n_at_zero). Raises InputError with batch normalisation.
    """
    arch = problem.arch
    arch.require_plain()
    if not arch.depth:
        return CuspCount(tolerance or ACTIVE_CUSP_TOLERANCE, (), most_cusps(arch))
    passes = _Blocks(theta, problem, forward_pass)
    measures = _Measures.of(passes)
    tolerance = tolerance or _best_tolerance(passes, measures)
    limits = tolerance * measures.scales
    tally = torch.zeros(len(_TALLIED), arch.depth, dtype=torch.long, device=theta.device)
    for block, y in passes:
        tally += _tally(passes, block, y, limits)
    if arch.activation != "relu":
        tally[1:] = 0
    n = len(problem.x) * arch.width
    per_layer = []
    for j, column in enumerate(tally.T.tolist()):
        counts = dict(zip(_TALLIED, column, strict=True))
        background, n_cusps = _above_background(counts["force"], counts["force_outside"])
        n_convex = min(n_cusps, _above_background(counts["convex"], counts["convex_outside"])[1])
        sizes = (n, float(measures.rms[j]), tuple(measures.scales[j].tolist()))
        per_layer.append(
            LayerCount(
                j + 1,
                *sizes,
                n_at_zero=counts["zero"],
                n_with_gradient=counts["force"],
                background=background,
                n_cusps=n_cusps,
                n_convex=n_convex,
            )
        )
    return CuspCount(tolerance, tuple(per_layer), most_cusps(arch))


def most_cusps(arch: Architecture) -> int:
    """The number of directions that cusps can hold: the parameters below the outputs, without scale symmetries.

    No cusp depends on the weights and biases of the outputs. Patterns that are alike may have more cusps than this.
    """
    out, fan_in = arch.shapes[-1]
    return max(0, arch.n_effective - out * (fan_in + arch.bias))


class _Blocks:
    """The forward passes of a problem, a block of patterns at a time, each with its labels [p, C].

    If there is only one block, it is computed once, or it is the given pass. Several blocks are computed again in each
    iteration, to bound the memory.
    """

    def __init__(self, theta: Tensor, problem: Problem, forward_pass: ForwardPass | None) -> None:
        self.problem, self.layers = problem, layers_of(theta, problem.arch)
        self._single = None
        if len(problem.x) <= CUSP_BLOCK_PATTERNS:
            self._single = forward_pass or forward(self.layers, problem.x, problem.arch)

    def __iter__(self) -> Iterator[tuple[ForwardPass, Tensor]]:
        problem = self.problem
        if self._single is not None:
            yield self._single, problem.y
            return
        for x, y in zip(
            problem.x.split(CUSP_BLOCK_PATTERNS), problem.y.split(CUSP_BLOCK_PATTERNS), strict=True
        ):
            yield forward(self.layers, x, problem.arch), y


@dataclass(frozen=True)
class _Measures:
    """rms [L] of z of each hidden layer; scales [L, h]: s_jn, of an even number of patterns the larger median."""

    rms: Tensor
    scales: Tensor

    @classmethod
    def of(cls, passes: _Blocks) -> _Measures:
        x, arch = passes.problem.x, passes.problem.arch
        squares = torch.zeros(arch.depth, dtype=x.dtype, device=x.device)
        terms: list[Tensor] = []
        missing = min(len(x), CUSP_SCALE_PATTERNS)
        for block, _ in passes:
            squares += torch.stack([z.square().sum() for z in block.z[:-1]])
            if missing > 0:
                terms.append(_sizes_of_terms(passes, block)[:missing])
                missing -= len(terms[-1])
        rms = (squares / (len(x) * arch.width)).sqrt()
        size = torch.cat(terms)
        return cls(rms, size.kthvalue(len(size) // 2 + 1, 0).values)


def _sizes_of_terms(passes: _Blocks, block: ForwardPass) -> Tensor:
    """Σ_m |W_jnm| |a_{j-1,m}| + |b_jn| of each pattern, layer and neuron [p, L, h]."""
    hidden = zip(block.inputs, passes.layers[:-1])
    return torch.stack([a.abs() @ weight.abs().T + bias.abs() for a, (weight, bias) in hidden], 1)


def _best_tolerance(passes: _Blocks, measures: _Measures) -> float:
    """The tolerance with the largest n - 2b: the cusps n - b minus the smooth background b that is counted with them."""
    edges = np.outer([1.0, *BACKGROUND_TOLERANCES], CUSP_TOLERANCE_CHOICES).ravel()
    order = np.argsort(edges)
    steps = torch.from_numpy(edges[order]).to(measures.scales)
    within = torch.zeros(len(edges) + 1, dtype=torch.long, device=steps.device)
    scales = torch.where(measures.scales > 0, measures.scales, 1.0)
    for block, y in passes:
        with_gradient = passes.problem.loss.slope(block.f, y).ne(0).any(1)
        moving = reached_from_below(block, torch.zeros_like(scales), passes.problem.arch)
        z = [torch.where(moves, layer.abs(), torch.inf) for moves, layer in zip(moving, block.z)]
        size = torch.stack(z, 1)[with_gradient] / scales
        within += torch.bincount(torch.bucketize(size, steps).flatten(), minlength=len(within))
    counts = np.empty(len(edges), dtype=np.int64)
    counts[order] = within.cumsum(0)[:-1].cpu().numpy()
    n, low, high = counts.reshape(3, -1)
    background = (high - low) / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0])
    return float(CUSP_TOLERANCE_CHOICES[np.argmax(n - 2 * background)])


#: What _tally counts: pre-activations at zero; those of them that hold a direction (force), and these if convex; the same
#: two in the range of the background.
_TALLIED = ("zero", "force", "convex", "force_outside", "convex_outside")


def _tally(passes: _Blocks, block: ForwardPass, y: Tensor, limits: Tensor) -> Tensor:
    """The counts of _TALLIED by layer, [5, L]."""
    layers, problem = passes.layers, passes.problem
    signal = problem.loss.slope(block.f, y)
    reached = signal.ne(0).any(1, keepdim=True)  # patterns [p, 1] with gradient that all layers above pass on
    beta = backward(layers, block, signal, problem.arch)
    low, high = BACKGROUND_TOLERANCES
    moving = reached_from_below(block, limits, problem.arch)
    columns = []
    for j in reversed(range(problem.arch.depth)):
        z, limit = block.z[j], limits[j]
        size = torch.where(moving[j], z.abs(), torch.inf)
        at_zero, outside = size <= limit, (size > low * limit) & (size <= high * limit)
        convex = reached & (beta[j + 1] @ layers[j + 1][0] >= 0)
        kinds = (at_zero, at_zero & reached, at_zero & convex, outside & reached, outside & convex)
        columns.append(torch.stack([kind.sum() for kind in kinds]))
        reached = reached & (z >= -limit).any(1, keepdim=True)
    return torch.stack(columns[::-1], 1)


def reached_from_below(
    forward_pass: ForwardPass, limits: Sequence[Tensor] | Tensor, arch: Architecture
) -> list[Tensor]:
    """Where the pre-activations of each hidden layer can move, [L][p, 1] booleans; limits [L][h]: the largest |z| of a cusp.

    Without biases, z = 0 is no cusp at a pattern where all neurons below are off: it stays zero when W moves.
    """
    on = forward_pass.inputs[0].ne(0).any(1, keepdim=True)
    moving = []
    for z, limit in zip(forward_pass.z[:-1], limits, strict=True):
        moving.append(on | arch.bias)
        on = on & (z >= -limit).any(1, keepdim=True)
    return moving


def _above_background(n: int, outside: int) -> tuple[float, int]:
    """The background of n pre-activations at zero, from those in its range, and the rest of n, rounded and at least 0."""
    background = outside / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0])
    return background, max(0, round(n - background))
