"""Steps by the compiled kernel: full batches in float64 on the CPU.

The steps are those of the torch engine up to round-off. Sums run over fixed chunks of patterns in a fixed order, so that
the bytes of a run do not depend on the number of threads.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import retract, stop_reason
from jamtools.engines.constants import UNKNOWN_GAP
from jamtools.engines.kernel.problem import KernelProblem, ListStatistics
from jamtools.engines.kernel.records import AdamMoments, StepLimits
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.engines.optimizers import Adam, Optimizer
from jamtools.errors import CheckError, Remedy
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.network.sphere import tangent
from jamtools.protocols import Settings

#: Threads share a step that has at least this many multiplications. In a shorter step they would wait for each other longer
#: than they compute, so one thread takes many such steps in one call of the kernel. Both ways give the same bytes, because
#: they are parts of one compiled function.
THREADING_MIN_MULTIPLICATIONS = 4_000_000


class CompiledEngine:
    """Full-batch steps of one run on the CPU in float64, by the compiled kernel."""

    def __init__(
        self, problem: Problem, theta: Tensor, optimizer: Optimizer, settings: Settings, threads: int = 1
    ) -> None:
        """theta [Ñ] is changed in place. See fits_compiled for the problems and settings that the kernel can take."""
        self.problem, self.theta, self.optimizer, self.settings = problem, theta, optimizer, settings
        self.kernel = KernelProblem(problem, theta.numpy(), settings.neighbour_list)
        self._threads = min(threads, self.kernel.chunks)
        shared = THREADING_MIN_MULTIPLICATIONS // (3 * problem.arch.n_parameters * TILE_SIZE)
        self._max_awake_alone = shared if self._threads > 1 else self.kernel.n_tiles
        self._pool = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Takes steps from `step` towards `until`; see Engine. Raises CheckError if an exact list missed a crossing."""
        stop = self.settings.stop if stop is None else stop
        reason = ""
        while step < until and not reason:
            change = min(until, self.settings.schedule.constant_until(step))
            done, reason = self._steps_at_rate(change - step, self.settings.schedule.rate(step), stop)
            self._check(step)
            step += done
        return step, reason

    @property
    def n_missed(self) -> int | None:
        """The number of patterns that crossed Δ = 0 while the list did not evaluate them."""
        return self.kernel.neighbours.n_missed

    @property
    def statistics(self) -> ListStatistics:
        """The counts of the list of neighbours so far."""
        return self.kernel.neighbours.statistics

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the arrays of the list of neighbours; see NeighbourList."""
        return self.kernel.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores the list of neighbours from a `state`."""
        self.kernel.restore(state)

    def _steps_at_rate(self, steps: int, lr: float, stop: bool) -> tuple[int, str]:
        """Takes up to `steps` steps at one rate; returns their number and the stop reason.

        One thread takes them while few tiles are awake. Otherwise threads share each step.
        """
        if not isinstance(self.optimizer, Adam):
            return self._shared_steps(steps, lr, stop)
        limits = StepLimits(steps, stop, self.problem.loss.contact, self._max_awake_alone)
        done, max_gap = self.kernel.adam_steps(self.theta.numpy(), self._moments(self.optimizer, lr), limits)
        self.optimizer.t += done
        if done < steps and max_gap == UNKNOWN_GAP:
            more, reason = self._shared_steps(steps - done, lr, stop, self._max_awake_alone)
            return done + more, reason
        return done, self._reason(max_gap, stop) if done < steps else ""

    def _shared_steps(self, steps: int, lr: float, stop: bool, max_awake_alone: int = 0) -> tuple[int, str]:
        """Takes up to `steps` steps that threads share, with any optimiser; returns their number and the stop reason.

        It ends earlier when at most max_awake_alone tiles are awake, because one thread is then enough.
        """
        theta, neighbours, done = self.theta.numpy(), self.kernel.neighbours, 0
        while done < steps:
            max_gap = self.kernel.chunk_gradients(theta, self._threads, self._pool)
            reason = self._reason(max_gap, stop)
            if reason == "satisfied" and not neighbours.complete:
                neighbours.request_sort()  # a run is satisfied only if the same step evaluated all patterns
                continue
            if reason:
                return done, reason
            self.kernel.update_list(theta)
            self._move(lr)
            done += 1
            if neighbours.n_awake <= max_awake_alone:
                break
        return done, ""

    def _reason(self, max_gap: float, stop: bool) -> str:
        return stop_reason(max_gap, stop, self.problem.loss.contact)

    def _move(self, lr: float) -> None:
        """Takes one step of the optimiser with the sum of the gradient's chunks. The kernel does the step of Adam."""
        if isinstance(self.optimizer, Adam):
            self.kernel.adam_step(self.theta.numpy(), self._moments(self.optimizer, lr))
            self.optimizer.t += 1
        else:
            g, norm = torch.from_numpy(self.kernel.gradient()), self.problem.arch.norm
            self.optimizer.step(self.theta, g if norm is None else tangent(g, self.theta), lr)
            retract(self.theta, norm)

    def _moments(self, optimizer: Adam, lr: float) -> AdamMoments:
        """Views of Adam's state, with its step and rate and the fixed norm, for the kernel."""
        m, v = (optimizer.state[name].numpy() for name in ("m", "v"))
        return AdamMoments(m, v, optimizer.t, float(lr), self.problem.arch.norm or 0.0)

    def _check(self, step: int) -> None:
        """Raises CheckError if a list that claims to be exact missed a crossing."""
        missed = self.kernel.neighbours.n_missed
        if missed and not self.settings.neighbour_list:
            raise CheckError(
                f"{missed} pattern(s) crossed Δ = 0 by step {step} beyond the bound of their drift, expected none",
                Remedy.TORCH_ENGINE_AND_REPORT,
            )


def fits_compiled(
    arch: Architecture, settings: Settings, device: torch.device | str, dtype: torch.dtype
) -> bool:
    """Whether the kernel can take these steps: all patterns in float64 on the CPU, without batch normalisation.

    The kernel supports the cross-entropy for one output only.
    """
    if arch.batch_norm:
        return False
    hinge_or_binary = settings.loss == "hinge" or arch.outputs == 1
    return str(device) == "cpu" and dtype == torch.float64 and not settings.batch and hinge_or_binary
