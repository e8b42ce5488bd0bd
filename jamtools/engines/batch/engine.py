"""Runs of equal shape taken forward together, along a leading axis of slots, full batch, on the card or the CPU.

    z_j[r] = W_j[r] a_{j-1}[r] + b_j[r],    a_j = ρ(z_j),    β_j[r] = ρ'(z_j[r]) ∘ W_{j+1}[r]ᵀ β_{j+1}[r],    ∇L[r] = Σ β a

A slot moves while its step is below its own `until` and its max Δ is finite and, where it is to stop, above 0; else it
stands still to the last bit, and says why. So runs at different steps go together, and a step needs no look by the host:
it can be captured, and taken many times before anyone looks. For the fixed shapes of a capture backward takes all patterns,
with the signal zero of the satisfied ones.

A run's bytes do not depend on its company: the slots are as many as its shape says (layout.py), each has its own numbers
alone, and on the CPU one thread takes the steps (two would share a product of many slots as the slots happen to fall).
Mini-batches and batch normalisation are not for this engine: a batch drawn by the host at every step is what a capture
must not wait for, and TorchEngine takes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Stateless
from jamtools.engines.batch.cuda_graphs import Graphs
from jamtools.engines.batch.layout import Layout, filled
from jamtools.engines.batch.optimizers import make_rows
from jamtools.engines.optimizers import Optimizer
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.protocols import Settings

#: What a slot that stands still before its `until` says.
WORDS = ("", "diverged", "satisfied")

NEVER = 2**62

#: ρ in place, and β ← β ∘ ρ'(z) in place, read off a = ρ(z): one kernel each.
ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "linear": lambda z: z,
}

SLOPE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda b, a: torch.ops.aten.threshold_backward.grad_input(b, a, 0, grad_input=b),
    "tanh": lambda b, a: torch.ops.aten.tanh_backward.grad_input(b, a, grad_input=b),
    "linear": lambda b, a: b,
}


def fits_batch(arch: Architecture, settings: Settings) -> bool:
    """Whether this engine can take these steps: all patterns in every step, no batch normalisation."""
    return not arch.batch_norm and not settings.batch


class Networks:
    """R networks of one shape and the patterns of each: max Δ and ∇L of all of them, in buffers that stay.

    x [blocks, R, n, d], y [blocks, R, n, C]. What fills up the last block is a copy of the last pattern, which leaves
    max Δ as it is, with weight 0 in the gradient.
    """

    def __init__(
        self, arch: Architecture, loss: Loss, layout: Layout, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.arch, self.loss, self.layout = arch, loss, layout
        R, n, blocks = layout.slots, layout.block, layout.blocks

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.x, self.y = zeros(blocks, R, n, arch.d), zeros(blocks, R, n, arch.outputs)
        self.weight = zeros(blocks * n, 1)
        self.weight[: loss.P] = 1
        self.weight = self.weight.view(blocks, n, 1)
        self._leaving = [zeros(R, n, out) for out, _ in arch.shapes]  # a_1 … a_L, f
        self._beta = [zeros(R, n, arch.width) for _ in range(min(2, arch.depth))]
        largest = max(out * fan_in for out, fan_in in arch.shapes)
        self._parts = zeros(R * layout.group, filled(largest))  # of a weight's gradient, one a chunk
        self.g, self.top = zeros(R, layout.stride), zeros(R)

    def put(self, slot: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the patterns x [P, d], y [P, C] of a slot; gives them back as they lie here."""
        kept = []
        for rows, here in ((x, self.x), (y, self.y)):
            filling = rows[-1:].expand(self.layout.padded - len(rows), -1)
            here[:, slot].copy_(torch.cat([rows, filling]).view(here[:, slot].shape))
            kept.append(here[:, slot].reshape(-1, rows.shape[1])[: len(rows)])
        return kept[0], kept[1]

    def evaluate(self, theta: Tensor) -> None:
        """g [R, stride] ← ∇L and top [R] ← max Δ (NaN if any is) at theta [R, stride]."""
        self.g.zero_()
        self.top.fill_(-math.inf)
        layers, into = self._layers(theta), self._layers(self.g)
        for block in range(self.layout.blocks):
            self._forward(layers, self.x[block])
            self._backward(layers, into, self.x[block], self._signal(block))

    def _layers(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of [R, stride] as (weight [R, out, in], bias [R, out]) per layer."""
        layers, start = [], 0
        for out, fan_in in self.arch.shapes:
            middle = start + out * fan_in
            layers.append((rows[:, start:middle].unflatten(1, (out, fan_in)), rows[:, middle : middle + out]))
            start = middle + out
        return layers

    def _forward(self, layers: list[tuple[Tensor, Tensor]], a: Tensor) -> None:
        for j, (weight, bias) in enumerate(layers):
            out = self._leaving[j]
            torch.baddbmm(bias[:, None, :], a, weight.transpose(1, 2), out=out)
            a = out if j == self.arch.depth else ACTIVATE[self.arch.activation](out)

    def _signal(self, block: int) -> Tensor:
        """∂L/∂f [R, n, C] after a forward pass; top takes its Δ in."""
        f, y = self._leaving[-1], self.y[block]
        torch.maximum(self.top, self.loss.gaps(f, y).flatten(1).amax(1), out=self.top)
        return self.loss.slope(f.flatten(0, 1), y.flatten(0, 1)).view(f.shape).mul_(self.weight[block])

    def _backward(
        self, layers: list[tuple[Tensor, Tensor]], into: list[tuple[Tensor, Tensor]], x: Tensor, beta: Tensor
    ) -> None:
        for j in range(self.arch.depth, -1, -1):
            a = self._leaving[j - 1] if j else x
            into[j][0].add_(self._outer(beta, a))
            into[j][1].add_(beta.sum(1))
            if j:
                before = self._beta[j % len(self._beta)]
                torch.bmm(beta, layers[j][0], out=before)
                beta = SLOPE[self.arch.activation](before, a)

    def _outer(self, beta: Tensor, a: Tensor) -> Tensor:
        """Σ_µ β_µ ⊗ a_µ [R, out, in]: chunk by chunk, then their sum."""
        R, group, chunk = self.layout.slots, self.layout.group, self.layout.chunk
        out, fan_in = beta.shape[2], a.shape[2]
        parts = self._parts[:, : out * fan_in].unflatten(1, (out, fan_in))
        chunks = beta.view(R * group, chunk, out).transpose(1, 2), a.view(R * group, chunk, fan_in)
        torch.bmm(*chunks, out=parts)
        return parts.unflatten(0, (R, group)).sum(1)


class BatchEngine:
    """Takes steps of all its seated runs; `settings` must be resolved, P is that of `loss`."""

    def __init__(
        self, arch: Architecture, loss: Loss, settings: Settings, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.settings, self.device = settings, device
        self.layout = Layout.of(arch, loss.P, device.type, dtype)
        R, stride = self.layout.slots, self.layout.stride
        self.networks = Networks(arch, loss, self.layout, device, dtype)
        self.optimizer = make_rows(settings.optimizer, settings.momentum, device)
        self.rows = torch.zeros(1 + len(self.optimizer.names), R, stride, dtype=dtype, device=device)
        starts = [[value] * R for value in self.optimizer.scalars.values()]
        self.scalars = torch.tensor(starts, dtype=torch.float64, device=device).view(-1, R)
        self._next = self.rows.clone(), self.scalars.clone()
        self._clock = torch.zeros(4, R, dtype=torch.int64, device=device)  # step, until, stop_from, word
        self._lr = torch.zeros(R, dtype=torch.float64, device=device)
        self.clock, self.lr = np.zeros((4, R), np.int64), np.zeros(R)  # as the host knows them
        self.free = list(range(R))
        self.test_sets: dict[
            tuple[int, ...], Tensor
        ] = {}  # tensors that all runs share, by address and shape
        # on a card the steps are recorded now, with no slot taken, when they move nothing
        self._graphs = Graphs(self._step, device) if device.type == "cuda" else None

    def take_slot(self, x: Tensor, y: Tensor, theta: Tensor, optimizer: Optimizer) -> Slot:
        """Takes a run in, on its patterns x [P, d], y [P, C]; IndexError when no slot is free."""
        return Slot(self, self.free.pop(0), x, y, theta, optimizer)

    def run(self, limit: int) -> int:
        """Up to `limit` steps of every slot that is aimed further than it stands; the number taken."""
        ahead = self.clock[1] - self.clock[0]
        n = int(ahead[ahead > 0].min(initial=limit)) if ahead.any() else 0
        with _one_thread(self.device):
            self._clock.copy_(torch.from_numpy(self.clock))
            self._lr.copy_(torch.from_numpy(self.lr))
            self._take(n)
            self.clock[:] = self._clock.cpu().numpy()
        return n

    def _take(self, n: int) -> None:
        if self._graphs:
            self._graphs.replay(n)
            return
        for _ in range(n):
            self._step()

    def _step(self) -> None:
        """One step of all slots, without a word to the host."""
        self.networks.evaluate(self.rows[0])
        step, _, _, word = self._clock
        alive = self._judge()
        rows, scalars = self._next
        rows.copy_(self.rows)
        scalars.copy_(self.scalars)
        self.optimizer.step(rows, scalars, self.networks.g, self._lr, step)
        torch.where(alive[:, None], rows, self.rows, out=self.rows)
        torch.where(alive, scalars, self.scalars, out=self.scalars)
        step.add_(alive)

    def _judge(self) -> Tensor:
        """Which slots move [R]; the word of those that do not though they are due."""
        step, until, stop_from, word = self._clock
        top = self.networks.top
        finite = top.isfinite()
        satisfied = finite & (top <= 0) & (step >= stop_from)
        halted = (~finite).long() + 2 * satisfied  # an index of WORDS
        due = step < until
        torch.mul(halted, due, out=word)
        return due & (halted == 0)


class Slot(Stateless):
    """A slot as the Engine of one run: theta, x, y and the optimiser's state are views of the batch from now on."""

    def __init__(
        self, engine: BatchEngine, index: int, x: Tensor, y: Tensor, theta: Tensor, optimizer: Optimizer
    ) -> None:
        self.engine, self.index, self._optimizer = engine, index, optimizer
        self.x, self.y = engine.networks.put(index, x, y)
        self.theta = engine.rows[0, index, : theta.numel()]
        self.theta.copy_(theta)
        here = dict(zip(engine.optimizer.names, engine.rows[1:, index, : theta.numel()]))
        here |= dict(zip(engine.optimizer.scalars, engine.scalars[:, index]))
        for name, tensor in here.items():
            tensor.copy_(optimizer.state[name])
            optimizer.state[name] = tensor
        engine.clock[:, index] = 0, 0, 0 if engine.settings.stop else NEVER, 0

    def set_target(self, step: int, until: int) -> None:
        """The run stands at `step` and shall go towards `until`, while its rate stays the same."""
        schedule = self.engine.settings.schedule
        self.engine.clock[:2, self.index] = step, min(until, schedule.constant_until(step))
        self.engine.lr[self.index] = schedule.rate(step)

    def reached(self) -> tuple[int, str]:
        """Where the run stands, and what stopped it there: an Engine's answer."""
        step, _, _, word = self.engine.clock[:, self.index].tolist()
        self._optimizer.t = step
        self.engine.clock[1, self.index] = step  # at rest until it is aimed again
        return step, WORDS[word]

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """See engines.py. With stop=False the steps to `until` are taken whatever their max Δ, but not yet."""
        if stop is False:
            self.engine.clock[2, self.index] = until
            return step, ""
        self.set_target(step, until)
        self.engine.run(until - step)
        return self.reached()

    def release(self) -> None:
        """Gives the slot back; what stands in it stays as it is until the next run comes."""
        self.engine.clock[1, self.index] = self.engine.clock[0, self.index]
        self.engine.free.append(self.index)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    threads = torch.get_num_threads()
    alone = device.type == "cpu" and threads > 1
    if alone:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if alone:
            torch.set_num_threads(threads)
