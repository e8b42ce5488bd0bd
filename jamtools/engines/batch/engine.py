"""Runs of equal shape that take their steps together, along a leading axis of slots: full batches, on a GPU or the CPU.

    z_j[r] = W_j[r] a_{j-1}[r] + b_j[r],    a_j = ρ(z_j),    β_j[r] = ρ'(z_j[r]) ∘ W_{j+1}[r]ᵀ β_{j+1}[r],    ∇L[r] = Σ β a

A slot moves while its step is below its target and its max Δ is finite and, if the run stops at N_Δ = 0, above 0.
Otherwise it does not change a bit of theta, and stores the stop reason. So runs at different steps can share one batch, and
the host has nothing to do between two steps: many steps can be recorded as one CUDA graph. A graph needs fixed shapes, so
the backward pass takes all patterns; the signal of satisfied patterns is zero.

The bytes of a run do not depend on the other runs. The number of slots follows from the run's shape (layout.py), each
slot computes only with its own numbers, and on the CPU one thread takes the steps: two threads could divide a product
of many slots between them in another way. TorchEngine takes mini-batches and batch normalisation, because a
mini-batch that the host draws at every step cannot be a part of a graph.

Source: arXiv:1809.09349, section II; the derivatives are the chain rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Stateless, retract
from jamtools.engines.batch.cuda_graphs import StepGraphs
from jamtools.engines.batch.layout import Layout, padded
from jamtools.engines.batch.optimizers import make_rows
from jamtools.engines.optimizers import Optimizer
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.sphere import tangent_rows
from jamtools.protocols import Settings

#: Why a slot stopped before its target. The device stores the index.
STOP_REASONS = ("", "diverged", "satisfied")

#: A step that no run reaches.
NEVER_STEP = 2**62


class Clock(IntEnum):
    """Rows of the clock [4, R] of a batch."""

    STEP = 0  # steps that the run has taken
    TARGET = 1  # the step at which the slot waits for the host
    STOP_FROM = 2  # from this step on, the run ends at a step with max Δ ≤ 0
    STOP_CODE = 3  # why the slot stopped before its target, an index of STOP_REASONS


#: ρ in place, by one kernel of torch.
ACTIVATE_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "linear": lambda z: z,
}

#: β ← β ∘ ρ'(z) in place, from a = ρ(z), by one kernel of torch.
SLOPE_IN_PLACE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda b, a: torch.ops.aten.threshold_backward.grad_input(b, a, 0, grad_input=b),
    "tanh": lambda b, a: torch.ops.aten.tanh_backward.grad_input(b, a, grad_input=b),
    "linear": lambda b, a: b,
}


def fits_batch(arch: Architecture, settings: Settings) -> bool:
    """Whether this engine can take these steps: all patterns in every step, without batch normalisation."""
    return not arch.batch_norm and not settings.batch


class Networks:
    """R networks of one shape, each with its own patterns. Computes max Δ and ∇L of each, in buffers with fixed addresses.

    x [blocks, R, n, d], y [blocks, R, n, C]. Copies of the last pattern fill the last block: they do not change max Δ,
    and their weight in the gradient is 0. The results are g [R, stride] and max_gap [R].
    """

    def __init__(
        self, arch: Architecture, loss: Loss, layout: Layout, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Makes buffers of zeros, for P = loss.P patterns per network."""
        self.arch, self.loss, self.layout = arch, loss, layout
        R, n, blocks = layout.slots, layout.block, layout.blocks

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.x, self.y = zeros(blocks, R, n, arch.d), zeros(blocks, R, n, arch.outputs)
        self.weight = zeros(blocks * n, 1)
        self.weight[: loss.P] = 1
        self.weight = self.weight.view(blocks, n, 1)
        self._outputs = [zeros(R, n, out) for out, _ in arch.shapes]  # a_1 … a_L, f
        self._beta = [zeros(R, n, arch.width) for _ in range(min(2, arch.depth))]
        largest = max(out * fan_in for out, fan_in in arch.shapes)
        self._parts = zeros(R * layout.group, padded(largest))  # the gradient of a weight, one per chunk
        self._no_bias = zeros(R, max(out for out, _ in arch.shapes))
        self.g, self.max_gap = zeros(R, layout.stride), zeros(R)

    def put(self, slot: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Copies the patterns x [P, d], y [P, C] into a slot; returns them in its memory, [P, d] and [P, C]."""
        views = []
        for rows, buffer in ((x, self.x), (y, self.y)):
            padding = rows[-1:].expand(self.layout.padded - len(rows), -1)
            buffer[:, slot].copy_(torch.cat([rows, padding]).view(buffer[:, slot].shape))
            views.append(buffer[:, slot].reshape(-1, rows.shape[1])[: len(rows)])
        return views[0], views[1]

    def evaluate(self, theta: Tensor) -> None:
        """g [R, stride] ← ∇L and max_gap [R] ← max Δ (NaN if one Δ is NaN) at theta [R, stride]."""
        self.g.zero_()
        self.max_gap.fill_(-math.inf)
        layers, gradients = self._layers(theta), self._layers(self.g)
        for block in range(self.layout.blocks):
            self._forward(layers, self.x[block])
            self._backward(layers, gradients, self.x[block], self._signal(block))

    def _layers(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of [R, stride] as (weight [R, out, in], bias [R, out]) per layer; without biases these are zeros."""
        layers, start = [], 0
        for out, fan_in in self.arch.shapes:
            middle = start + out * fan_in
            weight = rows[:, start:middle].unflatten(1, (out, fan_in))
            start = middle + out * self.arch.bias
            layers.append((weight, rows[:, middle:start] if self.arch.bias else self._no_bias[:, :out]))
        return layers

    def _forward(self, layers: list[tuple[Tensor, Tensor]], a: Tensor) -> None:
        """Fills the outputs of all layers from the inputs a [R, n, d] of a block."""
        for j, (weight, bias) in enumerate(layers):
            out = self._outputs[j]
            torch.baddbmm(bias[:, None, :], a, weight.transpose(1, 2), out=out)
            a = out if j == self.arch.depth else ACTIVATE_IN_PLACE[self.arch.activation](out)

    def _signal(self, block: int) -> Tensor:
        """∂L/∂f [R, n, C] of a block after its forward pass; updates max_gap with its Δ."""
        f, y = self._outputs[-1], self.y[block]
        torch.maximum(self.max_gap, self.loss.gaps(f, y).flatten(1).amax(1), out=self.max_gap)
        return self.loss.slope(f.flatten(0, 1), y.flatten(0, 1)).view(f.shape).mul_(self.weight[block])

    def _backward(
        self, layers: list[tuple[Tensor, Tensor]], gradients: list[tuple[Tensor, Tensor]], x: Tensor, beta: Tensor
    ) -> None:  # fmt: skip
        """Adds the gradient of a block, from its inputs x [R, n, d] and beta = ∂L/∂f [R, n, C]."""
        for j in range(self.arch.depth, -1, -1):
            a = self._outputs[j - 1] if j else x
            gradients[j][0].add_(self._outer(beta, a))
            if self.arch.bias:
                gradients[j][1].add_(beta.sum(1))
            if j:
                beta_below = self._beta[j % len(self._beta)]
                torch.bmm(beta, layers[j][0], out=beta_below)
                beta = SLOPE_IN_PLACE[self.arch.activation](beta_below, a)

    def _outer(self, beta: Tensor, a: Tensor) -> Tensor:
        """Σ_µ β_µ ⊗ a_µ [R, out, in] of beta [R, n, out], a [R, n, in]: chunk by chunk, then the sum of the chunks."""
        R, group, chunk = self.layout.slots, self.layout.group, self.layout.chunk
        out, fan_in = beta.shape[2], a.shape[2]
        parts = self._parts[:, : out * fan_in].unflatten(1, (out, fan_in))
        chunks = beta.view(R * group, chunk, out).transpose(1, 2), a.view(R * group, chunk, fan_in)
        torch.bmm(*chunks, out=parts)
        return parts.unflatten(0, (R, group)).sum(1)


class BatchEngine:
    """Takes the steps of all runs that hold a slot.

    All runs share the settings, the loss and P = loss.P. rows [1 + k, R, stride]: theta and the k state tensors of the
    optimiser; scalars [q, R]: its q numbers per run; free: the slots that no run holds.
    """

    def __init__(
        self, arch: Architecture, loss: Loss, settings: Settings, device: torch.device, dtype: torch.dtype
    ) -> None:
        """The layout follows from arch, P, device and dtype; on a GPU the constructor records the steps."""
        self.settings, self.device = settings, device
        self.layout = Layout.of(arch, loss.P, device.type, dtype)
        R, stride = self.layout.slots, self.layout.stride
        self.networks = Networks(arch, loss, self.layout, device, dtype)
        self.optimizer = make_rows(settings.optimizer, settings.momentum, device)
        self.rows = torch.zeros(1 + len(self.optimizer.names), R, stride, dtype=dtype, device=device)
        starts = [[value] * R for value in self.optimizer.scalars.values()]
        self.scalars = torch.tensor(starts, dtype=torch.float64, device=device).view(-1, R)
        self._next = self.rows.clone(), self.scalars.clone()
        self._clock = torch.zeros(len(Clock), R, dtype=torch.int64, device=device)
        self._lr = torch.zeros(R, dtype=torch.float64, device=device)
        # the copies of _clock and _lr on the host
        self.clock, self.lr = np.zeros((len(Clock), R), np.int64), np.zeros(R)
        self.free = list(range(R))
        # the test sets on the device, which all runs share, by the address and shape of the array
        self.test_sets: dict[tuple[int, ...], Tensor] = {}
        # on a GPU the steps are recorded now, while no slot is in use, so they change nothing
        self._graphs = StepGraphs(self._step, device) if device.type == "cuda" else None

    def take_slot(self, x: Tensor, y: Tensor, theta: Tensor, optimizer: Optimizer) -> Slot:
        """A free slot for the run with patterns x [P, d], y [P, C] and theta [Ñ]. Raises IndexError if no slot is free."""
        return Slot(self, self.free.pop(0), x, y, theta, optimizer)

    def run(self, limit: int) -> int:
        """Takes up to `limit` steps of every slot that has not reached its target; returns the number of steps."""
        ahead = self.clock[Clock.TARGET] - self.clock[Clock.STEP]
        n = int(ahead[ahead > 0].min(initial=limit)) if ahead.any() else 0
        with _one_thread(self.device):
            self._clock.copy_(torch.from_numpy(self.clock))
            self._lr.copy_(torch.from_numpy(self.lr))
            self._take(n)
            self.clock[:] = self._clock.cpu().numpy()
        return n

    def _take(self, n: int) -> None:
        """Takes n steps of all slots."""
        if self._graphs:
            self._graphs.replay(n)
            return
        for _ in range(n):
            self._step()

    def _step(self) -> None:
        """Takes one step of all slots, without any transfer to or from the host."""
        self.networks.evaluate(self.rows[0])
        step = self._clock[Clock.STEP]
        moves = self._which_move()
        rows, scalars = self._next
        rows.copy_(self.rows)
        scalars.copy_(self.scalars)
        g, norm = self.networks.g, self.networks.arch.norm
        if norm is not None:
            g = tangent_rows(g, rows[0])
        self.optimizer.step(rows, scalars, g, self._lr, step)
        retract(rows[0], norm)
        torch.where(moves[:, None], rows, self.rows, out=self.rows)
        torch.where(moves, scalars, self.scalars, out=self.scalars)
        step.add_(moves)

    def _which_move(self) -> Tensor:
        """Which slots move (bool [R]). It also sets the stop code of each slot that ends before its target."""
        step, target, stop_from, stop_code = self._clock
        max_gap = self.networks.max_gap
        finite = max_gap.isfinite()
        satisfied = finite & (max_gap <= self.networks.loss.contact) & (step >= stop_from)
        ended = (~finite).long() + 2 * satisfied  # an index of STOP_REASONS
        due = step < target
        torch.mul(ended, due, out=stop_code)
        return due & (ended == 0)


class Slot(Stateless):
    """One slot of a batch. It is the Engine of one run.

    theta [Ñ], x [P, d], y [P, C] and the state of the run's optimiser are views of the batch.
    """

    def __init__(
        self, engine: BatchEngine, index: int, x: Tensor, y: Tensor, theta: Tensor, optimizer: Optimizer
    ) -> None:
        """Copies the patterns x [P, d], y [P, C], theta [Ñ] and the state of the optimiser into slot `index`."""
        self.engine, self.index, self._optimizer = engine, index, optimizer
        self.x, self.y = engine.networks.put(index, x, y)
        self.theta = engine.rows[0, index, : theta.numel()]
        self.theta.copy_(theta)
        views = dict(zip(engine.optimizer.names, engine.rows[1:, index, : theta.numel()]))
        views |= dict(zip(engine.optimizer.scalars, engine.scalars[:, index]))
        for name, view in views.items():
            view.copy_(optimizer.state[name])
            optimizer.state[name] = view
        engine.clock[:, index] = 0, 0, 0 if engine.settings.stop else NEVER_STEP, 0

    def set_target(self, step: int, until: int) -> None:
        """Sets the run's step, and its target: `until`, or the step at which its rate changes if that comes first."""
        schedule, clock = self.engine.settings.schedule, self.engine.clock
        clock[Clock.STEP, self.index] = step
        clock[Clock.TARGET, self.index] = min(until, schedule.constant_until(step))
        self.engine.lr[self.index] = schedule.rate(step)

    def reached(self) -> tuple[int, str]:
        """The step that the run reached, and the reason why it stopped there; see Engine.advance."""
        step, _, _, code = self.engine.clock[:, self.index].tolist()
        self._optimizer.t = step
        self.engine.clock[Clock.TARGET, self.index] = step  # the slot rests until it has a new target
        return step, STOP_REASONS[code]

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Takes steps from `step` towards `until`; see Engine.

        With stop=False it takes no step. Later steps, up to `until`, then do not stop where all patterns are satisfied.
        """
        if stop is False:
            self.engine.clock[Clock.STOP_FROM, self.index] = until
            return step, ""
        self.set_target(step, until)
        self.engine.run(until - step)
        return self.reached()

    def release(self) -> None:
        """Frees the slot. Its contents stay until another run takes it."""
        self.engine.clock[Clock.TARGET, self.index] = self.engine.clock[Clock.STEP, self.index]
        self.engine.free.append(self.index)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Lets torch use one thread on the CPU, and restores its number of threads."""
    threads = torch.get_num_threads()
    limits_threads = device.type == "cpu" and threads > 1
    if limits_threads:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if limits_threads:
            torch.set_num_threads(threads)
