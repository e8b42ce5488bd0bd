"""The compiled kernel as the engines call it: patterns cut into tiles, scratch arrays, chunks shared by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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

    def _run(
        self, task: int, theta: Array, thread: int = 0, stride: int = 1, **adam: Any
    ) -> tuple[int, float]:
        """The kernel, with what a task does not use left idle."""
        now: dict[str, Any] = {"m": theta, "v": theta, "t": 0, "lr": 0.0, "steps": 1, "stop": False} | adam
        return kernel.run(
            task, theta, now["m"], now["v"], now["t"], now["lr"], now["steps"], now["stop"], thread, stride,
            *self.problem, self.work[thread], self.parts,
        )  # fmt: skip

    def adam_steps(
        self, theta: Array, m: Array, v: Array, t: int, lr: float, steps: int, stop: bool
    ) -> tuple[int, float]:
        """Up to `steps` steps of Adam in place, from its time t; the number taken and the last max Δ seen."""
        return self._run(kernel.STEPS, theta, m=m, v=v, t=t, lr=lr, steps=steps, stop=stop)

    def adam_update(self, theta: Array, m: Array, v: Array, t: int, lr: float) -> None:
        """The step of Adam from its time t that the chunks of the last `share` make."""
        self._run(kernel.UPDATE, theta, m=m, v=v, t=t, lr=lr)

    def share(
        self, theta: Array, threads: int = 1, parallel: Callable[..., Iterable[float]] | None = None
    ) -> float:
        """∇L chunk by chunk, by so many threads as `parallel` maps; max Δ. The chunks are the same for any number."""
        while len(self.work) < threads:
            self.work.append(self._workspace())
        tops = (parallel or map)(
            lambda thread: self._run(kernel.SHARE, theta, thread, threads)[1], range(threads)
        )
        return float(np.max(list(tops)))  # NaN stays NaN

    def gradient(self) -> Array:
        """∇L [Ñ], the sum of the chunks of the last `share`, which it uses up."""
        g = self.parts[0]
        for part in self.parts[1:]:
            g += part
        return g
