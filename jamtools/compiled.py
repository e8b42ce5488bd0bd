"""The compiled kernel as the engines call it: patterns cut into tiles, scratch arrays, chunks shared by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from jamtools import kernel
from jamtools.loss import Loss
from jamtools.network import Architecture
from jamtools.records import Array

RHO = {"relu": kernel.RELU, "tanh": kernel.TANH, "linear": kernel.LINEAR}


@dataclass(frozen=True)
class Tiles:
    """P patterns as X [tiles, d, T] and labels Y [tiles, C, T], the last tile filled up with zeros."""

    X: Array
    Y: Array
    P: int

    @classmethod
    def of(cls, x: Array, y: Array) -> Tiles:
        """From x [P, d] and y [P, C]."""
        return cls(_tiled(x), _tiled(y), len(x))


def _tiled(rows: Array) -> Array:
    P, n = rows.shape
    count = -(-P // kernel.T)
    padded = np.zeros((count * kernel.T, n))
    padded[:P] = rows
    return np.ascontiguousarray(padded.reshape(count, kernel.T, n).transpose(0, 2, 1))


class Call:
    """The kernel with all that stays the same from step to step. One thread at a time, but for `gradient`'s own."""

    def __init__(self, patterns: Tiles, arch: Architecture, loss: Loss) -> None:
        self.tiles = len(patterns.X)
        self.chunks = -(-self.tiles // kernel.CHUNK)
        self.sizes = np.array([arch.d] + [arch.width] * arch.depth + [arch.outputs])
        kind, curvature = (
            (kernel.HINGE, loss.hinge_curvature) if loss.name == "hinge" else (kernel.ENTROPY, 1 / loss.P)
        )
        self.problem = (
            self.sizes,
            RHO[arch.activation],
            kind,
            loss.epsilon,
            curvature,
            patterns.X,
            patterns.Y,
            patterns.P,
        )
        self.parts = np.zeros((self.chunks, arch.n_parameters))
        self.work = [self._workspace()]

    def _workspace(self) -> tuple[np.ndarray, ...]:
        L, C, widest = len(self.sizes) - 1, self.sizes[-1], self.sizes.max()
        shapes = (L + 1, widest), (L, widest), (C,), (C,), (2, widest), ()
        return (*(np.zeros((*shape, kernel.T)) for shape in shapes), np.zeros(kernel.T, np.int64))

    def adam_steps(
        self, theta: Array, m: Array, v: Array, t: int, lr: float, steps: int, stop: bool
    ) -> tuple[int, float]:
        """Up to `steps` steps of Adam in place, from its time t; the number taken and the last max Δ seen."""
        return kernel.adam_steps(theta, m, v, t, lr, steps, *self.problem, self.work[0], self.parts, stop)

    def gradient(
        self, theta: Array, threads: int = 1, parallel: Callable[..., Iterable[float]] | None = None
    ) -> tuple[float, Array]:
        """max Δ and ∇L [Ñ]; `parallel` maps the threads' shares of the chunks, the sum is the same for any number."""
        while len(self.work) < threads:
            self.work.append(self._workspace())

        def share(thread: int) -> float:
            tops = [
                kernel.chunk_gradient(
                    theta,
                    *self.problem,
                    c * kernel.CHUNK,
                    min(self.tiles, (c + 1) * kernel.CHUNK),
                    self.work[thread],
                    self.parts[c],
                )
                for c in range(thread, self.chunks, threads)
            ]
            return float(np.max(tops)) if tops else -np.inf

        top = float(np.max(list((parallel or map)(share, range(threads)))))  # NaN stays NaN
        g = self.parts[0]
        for part in self.parts[1:]:
            g += part
        return top, g
