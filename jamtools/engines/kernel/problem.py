"""The compiled kernel as the engines call it: tiles, list of nearby patterns, scratch, threads."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.engines.kernel import neighbours, step, tiles
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.records import Array

Indices = NDArray[np.int64]

RHO = {"relu": tiles.RELU, "tanh": tiles.TANH, "linear": tiles.LINEAR}


class Patterns:
    """P patterns x [P, d] and labels y [P, C], and the same in a list's order as tiles [tiles, n, T], zeros in the end."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        self.count = -(-len(x) // tiles.TILE_SIZE)
        self.X, self.Y = (np.zeros((self.count, rows.shape[1], tiles.TILE_SIZE)) for rows in (x, y))

    def gather(self, order: Indices) -> None:
        """The tiles in a new order of the patterns."""
        lines = self.count * tiles.TILE_SIZE
        for rows, cut in ((self.x, self.X), (self.y, self.Y)):
            padded = np.zeros((lines, rows.shape[1]))
            padded[: len(rows)] = rows[order]
            cut[:] = padded.reshape(self.count, tiles.TILE_SIZE, -1).transpose(0, 2, 1)


class NeighbourList:
    """The patterns in the order in which they may cross Δ = 0, and what bounds how far each can have gone since.

    estimated: trust the drifts it sees instead of the bound. The arrays are the kernel's; see kernel.run.
    """

    NAMES = "order", "margin", "reach", "gap", "norms", "reference", "count"

    def __init__(self, P: int, sizes: Indices, theta: Array, estimated: bool) -> None:
        n, L = -(-P // tiles.TILE_SIZE), len(sizes) - 1
        margin = np.full(n, -np.inf)  # nothing is known yet: all are awake
        gap = np.full((n, tiles.TILE_SIZE), tiles.LOWEST)
        count = np.zeros(neighbours.ASLEEP + 1)
        count[neighbours.PATIENCE] = count[neighbours.FACTOR] = 1.0
        count[neighbours.ESTIMATED] = estimated
        self.arrays = (
            np.arange(P), margin, np.zeros((n, L)), gap, np.zeros((3, L)), theta.copy(), count
        )  # fmt: skip
        self.step = (
            np.ones(n, np.bool_), np.zeros(L + 1), np.zeros((n, tiles.TILE_SIZE)), np.zeros((n, L, tiles.TILE_SIZE)),
            np.zeros(P), np.zeros(P), np.zeros((P, L)), np.zeros(P, np.int64), np.zeros(neighbours.CLASSES + 1, np.int64),
            np.zeros((sizes.max(),) * 2), np.zeros((sizes.max(),) * 2),
        )  # fmt: skip

    @property
    def order(self) -> Indices:
        """[P]: which pattern stands where."""
        return self.arrays[0]

    @property
    def complete(self) -> bool:
        """Whether the step under way looks at all patterns."""
        return not self.arrays[-1][neighbours.ASLEEP]

    @property
    def awake(self) -> int:
        """Tiles looked at in the step under way."""
        return len(self.step[0]) - int(self.arrays[-1][neighbours.ASLEEP])

    @property
    def missed(self) -> int:
        """Patterns that a look at all found unsatisfied in a tile that was not looked at."""
        return int(self.arrays[-1][neighbours.MISSED])

    def demand(self) -> None:
        """The next step looks at all patterns."""
        self.arrays[-1][neighbours.DUE] = 1.0

    def state(self) -> dict[str, Array]:
        """A copy of what the next step depends on."""
        return {name: array.copy() for name, array in zip(self.NAMES, self.arrays)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """In place."""
        for name, array in zip(self.NAMES, self.arrays):
            array[...] = state[name]


class KernelProblem:
    """The kernel with all that stays the same from step to step. One thread at a time, but for `gradient`'s own."""

    def __init__(
        self, x: Array, y: Array, arch: Architecture, loss: Loss, theta: Array, estimated: bool = False
    ) -> None:
        """x [P, d], y [P, C]; theta [Ñ]: where the run begins."""
        self.sizes = np.array([arch.d] + [arch.width] * arch.depth + [arch.outputs])
        kind, curvature = (
            (tiles.HINGE, loss.hinge_curvature) if loss.name == "hinge" else (tiles.ENTROPY, 1 / loss.P)
        )
        self.curvature = curvature
        self.patterns = Patterns(x, y)
        self.neighbours = NeighbourList(len(x), self.sizes, theta, estimated)
        self.patterns.gather(self.neighbours.order)
        self.problem = (
            self.sizes, RHO[arch.activation], kind, loss.epsilon, curvature, x, y, self.patterns.X, self.patterns.Y,
        )  # fmt: skip
        self.chunks = -(-self.patterns.count // step.TILES_PER_CHUNK)
        self.parts = np.zeros((self.chunks, arch.n_parameters))
        self.tally = np.zeros((self.chunks, 3))
        self.work = [self._workspace()]

    def restore(self, state: Mapping[str, Array]) -> None:
        """Goes on with a list that was kept."""
        self.neighbours.restore(state)
        self.patterns.gather(self.neighbours.order)

    def _workspace(self) -> tuple[np.ndarray, ...]:
        L, C, widest = len(self.sizes) - 1, self.sizes[-1], self.sizes.max()
        shapes = (L + 1, widest), (L, widest), (C,), (C,), (2, widest), ()
        scratch = (np.zeros((*shape, tiles.TILE_SIZE)) for shape in shapes)
        return (*scratch, np.zeros(tiles.TILE_SIZE, np.int64), np.zeros(widest))

    def _run(
        self, task: int, theta: Array, thread: int = 0, threads: int = 1, **adam: Any
    ) -> tuple[int, float]:
        """The kernel, with what a task does not use left idle."""
        now: dict[str, Any] = {
            "m": theta,
            "v": theta,
            "t": 0,
            "lr": 0.0,
            "steps": 1,
            "stop": False,
            "most": 0,
        } | adam
        return step.run(
            task, theta, now["m"], now["v"], now["t"], now["lr"], now["steps"], now["stop"], now["most"], thread, threads,
            *self.problem, self.work[thread], self.parts, self.tally, self.neighbours.arrays, self.neighbours.step,
        )  # fmt: skip

    def adam_steps(
        self, theta: Array, m: Array, v: Array, t: int, lr: float, steps: int, stop: bool, most: int
    ) -> tuple[int, float]:
        """Up to `steps` steps of Adam in place, from its time t, of at most `most` tiles; their number, the last max Δ."""
        return self._run(step.STEPS, theta, m=m, v=v, t=t, lr=lr, steps=steps, stop=stop, most=most)

    def share(self, theta: Array, threads: int = 1, pool: Executor | None = None) -> float:
        """∇L chunk by chunk, by so many threads, all but one of `pool`; the largest Δ of the patterns that were looked at.

        The chunks are the same for any number of threads.
        """
        while len(self.work) < threads:
            self.work.append(self._workspace())
        self._run(step.LOOK, theta)
        tasks = [partial(self._run, step.SHARE, theta, thread, threads) for thread in range(threads)]
        pending = [pool.submit(task) for task in tasks[1:]] if pool else []
        here = [task()[1] for task in (tasks[:1] if pool else tasks)]
        tops = [*here, *(future.result()[1] for future in pending)]
        return float(np.max(tops))  # NaN stays NaN

    def settle(self, theta: Array) -> None:
        """The list after the last `share`, at the same theta."""
        self._run(step.SETTLE, theta)

    def adam_update(self, theta: Array, m: Array, v: Array, t: int, lr: float) -> None:
        """The step of Adam from its time t that the chunks of the last `share` make."""
        self._run(step.UPDATE, theta, m=m, v=v, t=t, lr=lr)

    def gradient(self) -> Array:
        """∇L [Ñ], the sum of the chunks of the last `share`, which it uses up."""
        g = self.parts[0]
        for part in self.parts[1:]:
            g += part
        return g

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """L and ∇L [Ñ] of the hinge loss with one output; tiles asleep are satisfied, and add nothing to either."""
        self.share(theta)
        gaps = self.neighbours.step[2][self.neighbours.step[0]]
        value = 0.5 * self.curvature * float(np.square(gaps.clip(min=0)).sum())
        self.settle(theta)
        return value, self.gradient().copy()
