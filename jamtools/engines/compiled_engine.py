"""What moves a run from one event to the next: the torch path, and the compiled one for full batches on the CPU.

Both take the same steps; they differ by round-off. `advance(step, until)` takes the steps step … until - 1, unless it
finds one where max Δ is not finite ("diverged") or not above 0 ("satisfied", if it is to stop there): it returns the step
it stands at, and that word or "".
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import stop_reason
from jamtools.engines.kernel.problem import KernelProblem
from jamtools.engines.kernel.step import UNKNOWN
from jamtools.engines.kernel.tiles import TILE_SIZE
from jamtools.engines.optimizers import Adam, Optimizer
from jamtools.errors import CheckError
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.protocols import Settings

#: From this many multiplications a step on, threads share its chunks; below, they would wait for each other longer than they
#: work, and whole stretches of steps are one loop. Both give the same bytes: they are one compiled function's own code.
THREADING_MIN_MULTIPLICATIONS = 4_000_000


class CompiledEngine:
    """Full-batch steps on the CPU in float64 by the compiled kernel.

    Sums run over fixed chunks of patterns in a fixed order: the bytes do not depend on `threads`.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        theta: Tensor,
        optimizer: Optimizer,
        settings: Settings,
        arch: Architecture,
        loss: Loss,
        threads: int = 1,
    ) -> None:
        self.theta, self.optimizer, self.settings = theta, optimizer, settings
        self.call = KernelProblem(x, y, arch, loss, theta.numpy(), settings.neighbour_list)
        self.threads = min(threads, self.call.chunks)
        per_tile = 3 * arch.n_parameters * TILE_SIZE
        self.most = (
            THREADING_MIN_MULTIPLICATIONS // per_tile if self.threads > 1 else self.call.patterns.count
        )
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """See the module; the rate is constant within each stretch."""
        stop = bool(self.settings.stop) if stop is None else stop
        outcome = ""
        while step < until and not outcome:
            change = min(until, self.settings.schedule.constant_until(step))
            done, outcome = self._stretch(change - step, self.settings.schedule.rate(step), stop)
            self._check(step)
            step += done
        return step, outcome

    def _stretch(self, steps: int, lr: float, stop: bool) -> tuple[int, str]:
        """Some of the next steps, all in one way; how many, and what ended them."""
        if not isinstance(self.optimizer, Adam):
            return self._shared_steps(steps, lr, stop)
        m, v = (self.optimizer.state[name].numpy() for name in ("m", "v"))
        theta, t = self.theta.numpy(), self.optimizer.t
        done, top = self.call.adam_steps(theta, m, v, t, lr, steps, stop, self.most)
        self.optimizer.t += done
        if done < steps and top == UNKNOWN:
            more, outcome = self._shared_steps(steps - done, lr, stop, self.most)
            return done + more, outcome
        return done, stop_reason(top, stop) if done < steps else ""

    def _shared_steps(self, steps: int, lr: float, stop: bool, most: int = 0) -> tuple[int, str]:
        """The same, by threads and with any optimiser, while more than `most` tiles are awake."""
        theta, done = self.theta.numpy(), 0
        while done < steps:
            top = self.call.share(theta, self.threads, self._pool)
            outcome = stop_reason(top, stop)
            if outcome == "satisfied" and not self.call.neighbours.complete:
                self.call.neighbours.demand()  # the verdict is one over all patterns
                continue
            if outcome:
                return done, outcome
            self.call.settle(theta)
            self._update(lr)
            done += 1
            if self.call.neighbours.awake <= most:
                break
        return done, ""

    def _check(self, step: int) -> None:
        missed = self.call.neighbours.missed
        if missed and not self.settings.neighbour_list:
            raise CheckError(
                f"{missed} pattern(s) crossed Δ = 0 by step {step} beyond the bound of their drift, expected none; "
                "use --engine torch and report it"
            )

    @property
    def n_missed(self) -> int | None:
        """See Engine."""
        return self.call.neighbours.missed

    def state(self) -> dict[str, np.ndarray]:
        """See Engine."""
        return self.call.neighbours.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See Engine."""
        self.call.restore(state)

    def _update(self, lr: float) -> None:
        """One step of the optimiser: Adam by the kernel, which knows it."""
        if isinstance(self.optimizer, Adam):
            m, v = (self.optimizer.state[name].numpy() for name in ("m", "v"))
            self.call.adam_update(self.theta.numpy(), m, v, self.optimizer.t, lr)
            self.optimizer.t += 1
        else:
            self.optimizer.step(self.theta, torch.from_numpy(self.call.gradient()), lr)


def fits_compiled(
    arch: Architecture, settings: Settings, device: torch.device | str, dtype: torch.dtype
) -> bool:
    """Whether the compiled kernel can take these steps: full batch, float64, on the CPU, one of its losses.

    It knows no batch normalisation.
    """
    if arch.batch_norm:
        return False
    binary_or_hinge = settings.loss == "hinge" or arch.outputs == 1
    return str(device) == "cpu" and dtype == torch.float64 and not settings.batch and binary_or_hinge
