"""The compiled kernel as the engines call it: one network with its loss, P patterns in tiles, their list, and scratch.

    ∇L(W) = Σ_chunks Σ_{tiles awake} ∂L/∂W,    L = ½ curvature Σ_µ max(Δ_µ, 0)²  (hinge)

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import numpy as np

from jamtools.engines.kernel import step
from jamtools.engines.kernel.neighbours import SORT_BINS
from jamtools.engines.kernel.records import (
    AdamMoments,
    ChunkSums,
    Counter,
    Indices,
    ListState,
    Network,
    Patterns,
    StepLimits,
    StepScratch,
    Tally,
    Workspace,
)
from jamtools.engines.kernel.tiles import CROSS_ENTROPY, HINGE, LINEAR, LOWEST_GAP, RELU, TANH, TILE_SIZE
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.records import Array

ACTIVATION_CODES = {"relu": RELU, "tanh": TANH, "linear": LINEAR}

#: The names of the fields of ListState in a checkpoint.
STATE_NAMES = "order", "margin", "reach", "gap", "norms", "reference", "count"

#: The limits of a task that is only a part of a step.
ONE_STEP = StepLimits(steps=1, stop=False, contact=0.0, max_awake=0)


def tiles_of(P: int) -> int:
    """The number of tiles of P patterns."""
    return -(-P // TILE_SIZE)


def network_of(arch: Architecture, loss: Loss) -> Network:
    """The network and its loss, for the kernel."""
    sizes = np.array([arch.d] + [arch.width] * arch.depth + [arch.outputs])
    biases = sizes[1:] * arch.bias
    hinge = loss.name == "hinge"
    code, curvature = (HINGE, loss.hinge_curvature) if hinge else (CROSS_ENTROPY, 1 / loss.P)
    rho = ACTIVATION_CODES[arch.activation]
    return Network(sizes, biases, rho, code, float(loss.epsilon), float(curvature))


def cut_into_tiles(rows: Array, order: Indices, tiles: Array) -> None:
    """tiles [tiles, n, T] ← rows [P, n] in the order [P]; zeros fill the last tile."""
    padded = np.zeros((len(tiles) * TILE_SIZE, rows.shape[1]))
    padded[: len(rows)] = rows[order]
    tiles[:] = padded.reshape(len(tiles), TILE_SIZE, -1).transpose(0, 2, 1)


def empty_workspace(sizes: Indices) -> Workspace:
    """The scratch arrays of one thread, for layers of these sizes [L' + 1]."""
    layers, widest, outputs = len(sizes), sizes.max(), sizes[-1]
    return Workspace(
        activations=np.zeros((layers, widest, TILE_SIZE)),
        gathered_activations=np.zeros((layers - 1, widest, TILE_SIZE)),
        signal=np.zeros((outputs, TILE_SIZE)),
        gathered_signal=np.zeros((outputs, TILE_SIZE)),
        beta=np.zeros((2, widest, TILE_SIZE)),
        scratch=np.zeros(TILE_SIZE),
        bits=np.zeros(TILE_SIZE, np.int64),
        zeros=np.zeros(widest),
    )


class ListStatistics(NamedTuple):
    """The counts of a list of neighbours so far, and its drift factor."""

    n_tiles: int
    n_awake: int  # tiles that the present step evaluates
    lists_made: int
    n_missed: int  # patterns found unsatisfied in a tile that was asleep
    drift_factor: float  # of the bound; 1 unless the list is estimated


class NeighbourList:
    """The patterns in the order in which they may reach Δ = 0, and the arrays that bound the change of their Δ.

    estimated: whether a multiple of the observed drifts replaces the bound.
    """

    def __init__(self, P: int, sizes: Indices, theta: Array, estimated: bool) -> None:
        """sizes [L' + 1]; theta [Ñ]: the reference until the first list is made."""
        n, layers, widest = tiles_of(P), len(sizes) - 1, sizes.max()
        counters = np.zeros(len(Counter))
        counters[Counter.PATIENCE] = counters[Counter.DRIFT_FACTOR] = 1.0
        counters[Counter.ESTIMATED] = estimated
        self.arrays = ListState(
            order=np.arange(P),
            margin=np.full(n, -np.inf),  # all tiles are awake until the first list is made
            reach=np.zeros((n, layers)),
            gap=np.full((n, TILE_SIZE), LOWEST_GAP),
            norms=np.zeros((3, layers)),
            reference=theta.copy(),
            counters=counters,
        )
        self.scratch = StepScratch(
            awake=np.ones(n, np.bool_),
            drift=np.zeros(layers + 1),
            gap=np.zeros((n, TILE_SIZE)),
            input_norm=np.zeros((n, layers, TILE_SIZE)),
            key=np.zeros(P),
            own_gap=np.zeros(P),
            own_norm=np.zeros((P, layers)),
            bins=np.zeros(P, np.int64),
            bin_ends=np.zeros(SORT_BINS + 1, np.int64),
            gram=np.zeros((widest, widest)),
            gram_power=np.zeros((widest, widest)),
        )

    @property
    def complete(self) -> bool:
        """Whether the present step evaluates all patterns."""
        return not self.arrays.counters[Counter.ASLEEP]

    @property
    def n_awake(self) -> int:
        """Tiles that the present step evaluates."""
        return len(self.arrays.margin) - int(self.arrays.counters[Counter.ASLEEP])

    @property
    def n_missed(self) -> int:
        """The number of patterns found unsatisfied in a tile that was asleep, in the steps that evaluated all patterns."""
        return int(self.arrays.counters[Counter.MISSED])

    @property
    def statistics(self) -> ListStatistics:
        """The counts of the list so far, and its drift factor."""
        counters = self.arrays.counters
        lists_made, factor = int(counters[Counter.LISTS_MADE]), float(counters[Counter.DRIFT_FACTOR])
        return ListStatistics(len(self.arrays.margin), self.n_awake, lists_made, self.n_missed, factor)

    def request_sort(self) -> None:
        """Makes the next step evaluate all patterns and make the list again."""
        self.arrays.counters[Counter.SORT_REQUESTED] = 1.0

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the arrays that the next step depends on, by their names in a checkpoint."""
        return {name: array.copy() for name, array in self._named()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Copies the arrays of a `state` back into the list."""
        for name, array in self._named():
            array[...] = state[name]

    def _named(self) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays with their names in a checkpoint."""
        return zip(STATE_NAMES, self.arrays)


class KernelProblem:
    """The compiled kernel with the arguments that are the same in every call.

    Only one thread at a time may call its methods; chunk_gradients itself uses the threads of a pool.
    """

    def __init__(self, problem: Problem, theta: Array, estimated: bool = False) -> None:
        """problem: in float64 on the CPU; theta [Ñ]: the present parameters of the run; estimated: see NeighbourList."""
        x, y = problem.x.numpy(), problem.y.numpy()
        self.network = network_of(problem.arch, problem.loss)
        self.n_tiles = tiles_of(len(x))
        tiles = (np.zeros((self.n_tiles, rows.shape[1], TILE_SIZE)) for rows in (x, y))
        self.patterns = Patterns(x, y, *tiles)
        self.neighbours = NeighbourList(len(x), self.network.sizes, theta, estimated)
        self._fill_tiles()
        self.chunks = -(-self.n_tiles // step.TILES_PER_CHUNK)
        self.sums = ChunkSums(
            np.zeros((self.chunks, problem.arch.n_parameters)), np.zeros((self.chunks, len(Tally)))
        )
        self._workspaces = [empty_workspace(self.network.sizes)]

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the list, which the next step depends on; see NeighbourList.state."""
        return self.neighbours.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores the list from a `state`."""
        self.neighbours.restore(state)
        self._fill_tiles()

    def _fill_tiles(self) -> None:
        """Copies the patterns into the tiles, in the order of the list."""
        order, patterns = self.neighbours.arrays.order, self.patterns
        cut_into_tiles(patterns.x, order, patterns.x_tiles)
        cut_into_tiles(patterns.y, order, patterns.y_tiles)

    def _run(
        self,
        task: int,
        theta: Array,
        adam: AdamMoments | None = None,
        limits: StepLimits = ONE_STEP,
        thread: int = 0,
        threads: int = 1,
    ) -> tuple[int, float]:
        """Calls the kernel. In a task without Adam, theta stands for the arrays of Adam, and the kernel ignores them."""
        adam = adam or AdamMoments(theta, theta, 0, 0.0, 0.0)
        return step.run(
            task, theta, adam, limits, thread, threads, self.network, self.patterns, self._workspaces[thread],
            self.sums, self.neighbours.arrays, self.neighbours.scratch,
        )  # fmt: skip

    def adam_steps(self, theta: Array, adam: AdamMoments, limits: StepLimits) -> tuple[int, float]:
        """Takes steps of Adam on theta [Ñ], in place, within the limits. Returns their number and a largest Δ.

        This is the largest Δ at the last theta that was evaluated, or constants.UNKNOWN_GAP if more than limits.max_awake
        tiles were awake.
        """
        return self._run(step.TASK_STEPS, theta, adam, limits)

    def chunk_gradients(self, theta: Array, threads: int = 1, pool: Executor | None = None) -> float:
        """Computes the gradient at theta [Ñ] chunk by chunk; returns the largest Δ of the patterns that were evaluated.

        The chunks are divided into `threads` parts. This thread computes one part and `pool` the others; without a pool
        this thread computes all. The chunks are the same for any number of threads.
        """
        while len(self._workspaces) < threads:
            self._workspaces.append(empty_workspace(self.network.sizes))
        self._run(step.TASK_FIND_AWAKE, theta)
        tasks = [
            partial(self._run, step.TASK_CHUNKS, theta, thread=thread, threads=threads)
            for thread in range(threads)
        ]
        pending = [pool.submit(task) for task in tasks[1:]] if pool else []
        own_max_gaps = [task()[1] for task in (tasks[:1] if pool else tasks)]
        max_gaps = [*own_max_gaps, *(future.result()[1] for future in pending)]
        return float(np.max(max_gaps))  # NaN stays NaN

    def update_list(self, theta: Array) -> None:
        """Updates the list after `chunk_gradients` at the same theta [Ñ]."""
        self._run(step.TASK_UPDATE_LIST, theta)

    def adam_step(self, theta: Array, adam: AdamMoments) -> None:
        """Takes one step of Adam on theta [Ñ], in place, with the chunks of the last `chunk_gradients`."""
        self._run(step.TASK_UPDATE_THETA, theta, adam)

    def gradient(self) -> Array:
        """∇L [Ñ], the sum of the chunks of the last `chunk_gradients`. It overwrites the first chunk, so call it once."""
        g = self.sums.gradients[0]
        for part in self.sums.gradients[1:]:
            g += part
        return g

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """L and ∇L [Ñ] at theta [Ñ], hinge loss with one output. Tiles asleep are satisfied and contribute nothing."""
        self.chunk_gradients(theta)
        gaps = self.neighbours.scratch.gap[self.neighbours.scratch.awake]
        value = 0.5 * self.network.curvature * float(np.square(gaps.clip(min=0)).sum())
        self.update_list(theta)
        return value, self.gradient().copy()
