r"""First-order training of one network, full batch or in mini-batches, from its seed to its record.

    Adam   m ← β₁m + (1-β₁)g,  v ← β₂v + (1-β₂)g²,  W ← W - η m̂ / (√v̂ + 10⁻⁸)      (β₁, β₂ = 0.9, 0.999)
    SGD    W ← W - η g
    η(t) = max(floor, η₀ / factor^⌊t / every⌋)

A satisfied pattern has no hinge gradient, so backward runs over the unsatisfied ones alone: exact, and much
less work late in training. The step size of Adam keeps the 10⁻⁸ of its authors and of the paper.

Source: arXiv:1809.09349, section II; Kingma and Ba, arXiv:1412.6980.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import InputError
from jamtools.loss import CONTACT, Loss, column, misclassified
from jamtools.network import Architecture, State, backward, forward, gradient, initial_parameters, layers_of
from jamtools.records import Dataset, Run

OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Schedule:
    """η(t): divided by `factor` every `every` steps, never below `floor`."""

    lr: float = 1e-4
    every: int = 250_000
    factor: float = 10.0
    floor: float = 1e-7

    def rate(self, step: int) -> float:
        # a floor above η₀ must not raise the rate the user asked for
        return max(min(self.floor, self.lr), self.lr / self.factor ** (step // self.every))


@dataclass(frozen=True)
class Settings:
    """Everything that decides a trajectory besides the data, the architecture and the seed.

    batch: patterns a step, 0 for all of them; stop: end when N_Δ = 0. None for either is settled by
    `resolved`, once the number of patterns is known.
    """

    loss: str = "hinge"
    epsilon: float = 0.5
    init: str = "orthogonal"
    optimizer: str = "adam"
    schedule: Schedule = field(default_factory=Schedule)
    batch: int | None = None
    steps: int = 100_000
    stop: bool | None = None
    measurements: int = 150
    protocol: str = "custom"

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer {self.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")

    def resolved(self, P: int) -> Settings:
        """The same with nothing left open, for P patterns.

        SGD takes batches of min(P/2, 1024) as the paper does, Adam all patterns. Cross-entropy has no margin
        (ε = 0) and goes on improving after the last pattern is classified, so that it does not stop there.
        """
        whole = 0 if self.optimizer == "adam" else min(max(P // 2, 1), 1024)
        batch = whole if self.batch is None else self.batch
        stop = self.loss == "hinge" if self.stop is None else self.stop
        epsilon = self.epsilon if self.loss == "hinge" else 0.0
        return replace(self, batch=0 if batch >= P else batch, stop=stop, epsilon=epsilon)


#: The paper's protocols by name (science.md); `steps` is the one for N*.
PROTOCOLS = {"paper-hinge": Settings(steps=2_000_000, protocol="paper-hinge")}

#: Called with (step, loss, N_Δ) now and then.
Watch = Callable[[int, float, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The loss at one point: gaps Δ [P, C], gradient [Ñ], the forward pass it came from."""

    value: float
    gaps: Tensor
    gradient: Tensor
    wrong: Tensor

    @property
    def n_unsatisfied(self) -> int:
        return int((self.gaps > 0).sum())

    @property
    def n_misclassified(self) -> int:
        return int(self.wrong.sum())


class Objective:
    """L(theta) over a training set x [P, d], y [P, C], and its gradient in the unsatisfied patterns."""

    def __init__(self, x: Tensor, y: Tensor, arch: Architecture, loss: Loss) -> None:
        self.x, self.y, self.arch, self.loss = x, y, arch, loss

    def evaluate(self, theta: Tensor) -> Evaluation:
        """L, Δ and ∇L over all patterns."""
        layers = layers_of(theta, self.arch)
        state = forward(layers, self.x, self.arch)
        gaps = self.loss.gaps(state.f, self.y)
        value = self.loss.value(state.f, self.y).item()
        return Evaluation(
            value, gaps, self._gradient(theta, state, self.y, gaps), misclassified(state.f, self.y)
        )

    def forward(self, theta: Tensor) -> tuple[State, Tensor]:
        """The pass over all patterns, and Δ."""
        state = forward(layers_of(theta, self.arch), self.x, self.arch)
        return state, self.loss.gaps(state.f, self.y)

    def gradient(self, theta: Tensor, state: State, gaps: Tensor) -> Tensor:
        """∇L [Ñ] from a pass over all patterns."""
        return self._gradient(theta, state, self.y, gaps)

    def batch_gradient(self, theta: Tensor, patterns: Tensor) -> Tensor:
        """∇ of the mean loss over some patterns."""
        x, y = self.x[patterns], self.y[patterns]
        state = forward(layers_of(theta, self.arch), x, self.arch)
        scale = len(self.x) / len(x)  # the loss divides by all P
        return scale * self._gradient(theta, state, y, self.loss.gaps(state.f, y))

    def _gradient(self, theta: Tensor, state: State, y: Tensor, gaps: Tensor) -> Tensor:
        if self.loss.name == "hinge":
            active = (gaps > 0).any(1)
            if not bool(active.all()):
                patterns = active.nonzero()[:, 0]
                state, y = state.take(patterns), y[patterns]
        signal = self.loss.slope(state.f, y)
        return gradient(backward(layers_of(theta, self.arch), state, signal, self.arch), state)


class Adam:
    """Adam on a flat vector; its state belongs to one run."""

    def __init__(self, theta: Tensor) -> None:
        self.m, self.v, self.t = torch.zeros_like(theta), torch.zeros_like(theta), 0

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        self.t += 1
        self.m.lerp_(g, 0.1)
        self.v.mul_(0.999).addcmul_(g, g, value=0.001)
        root = self.v.sqrt().div_(math.sqrt(1 - 0.999**self.t)).add_(1e-8)
        theta.addcdiv_(self.m, root, value=-lr / (1 - 0.9**self.t))


class SGD:
    """Plain gradient descent; without state."""

    def __init__(self, theta: Tensor) -> None:
        """Takes theta as every optimiser does."""

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        theta.add_(g, alpha=-lr)


def measured_steps(steps: int, measurements: int) -> list[int]:
    """0, the last step, and log-spaced ones in between: at most `measurements` in all."""
    if steps == 0:
        return [0]
    spaced = np.unique(np.geomspace(1, steps, max(measurements - 1, 1)).round().astype(int))
    return [0, *spaced.tolist()] if spaced[-1] == steps else [0, *spaced.tolist(), steps]


class History:
    """Columns over the measured steps."""

    def __init__(self, objective: Objective, test: tuple[Tensor, Tensor] | None) -> None:
        self.objective, self.test = objective, test
        self.rows: list[dict[str, float]] = []

    def measure(self, step: int, theta: Tensor) -> Evaluation:
        """Adds a row; gives the evaluation it was read from."""
        here = self.objective.evaluate(theta)
        row = {
            "step": step,
            "loss": here.value,
            "n_unsatisfied": here.n_unsatisfied,
            "n_misclassified": here.n_misclassified,
            "grad_norm": here.gradient.norm().item(),
        }
        if self.test is not None:
            row["test_error"] = self._test_error(theta)
        self.rows.append(row)
        return here

    def _test_error(self, theta: Tensor) -> float:
        assert self.test is not None
        x, y = self.test
        f = forward(layers_of(theta, self.objective.arch), x, self.objective.arch).f
        return misclassified(f, y).double().mean().item()

    def columns(self) -> dict[str, np.ndarray]:
        """Step and counts as int64, the rest as float64."""
        counts = ("step", "n_unsatisfied", "n_misclassified")
        return {
            name: np.array([row[name] for row in self.rows], dtype=np.int64 if name in counts else np.float64)
            for name in self.rows[0]
        }


def train(
    data: Dataset,
    arch: Architecture,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    watch: Watch | None = None,
) -> Run:
    """Trains one network on all of `data` and returns its record.

    The trajectory is a function of the arguments alone; on the CPU also of the number of threads, which
    may change the order of summation.
    """
    settings = settings.resolved(data.P)
    loss = Loss(settings.loss, settings.epsilon, data.P, arch.outputs)
    x, y = _tensors(data.x, data.y, device, dtype)
    objective = Objective(x, y, arch, loss)
    theta0 = initial_parameters(arch, settings.init, seed)
    theta = torch.as_tensor(theta0, dtype=dtype, device=device).clone()
    test = None
    if data.x_test is not None and data.y_test is not None:
        test = _tensors(data.x_test, data.y_test, device, dtype)
    history = History(objective, test)
    step, status = _descend(theta, history, settings, seed, watch or (lambda *_: None))
    return _record(theta, theta0, history, step, status, arch, loss, settings, seed)


def _tensors(
    x: np.ndarray, y: np.ndarray, device: torch.device | str, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(x, dtype=dtype, device=device), column(
        torch.as_tensor(y, dtype=dtype, device=device)
    )


def _descend(theta: Tensor, history: History, settings: Settings, seed: int, watch: Watch) -> tuple[int, str]:
    """Moves theta in place; returns the last step and the status."""
    optimizer = Adam(theta) if settings.optimizer == "adam" else SGD(theta)
    P = len(history.objective.x)
    gradients = (
        _batches(history.objective, settings, seed) if settings.batch else _full_batch(history.objective)
    )
    # a mini-batch does not tell N_Δ of the whole set: it is read once a pass
    every = math.ceil(P / settings.batch) if settings.batch else 1
    measured = set(measured_steps(settings.steps, settings.measurements))
    for step in range(settings.steps + 1):
        top, g = gradients(theta, step % every == 0)
        if not math.isfinite(top):
            history.measure(step, theta)
            return step, "diverged"
        done = top <= 0
        if step in measured or (done and settings.stop):
            here = history.measure(step, theta)
            watch(step, here.value, here.n_unsatisfied)
        if (done and settings.stop) or step == settings.steps:
            return step, "satisfied" if history.rows[-1]["n_unsatisfied"] == 0 else "budget"
        optimizer.step(theta, g, settings.schedule.rate(step))
    raise AssertionError("the loop ends at its last step")


#: gradients(theta, whole) -> (largest Δ, ∇L); the largest Δ decides satisfied and diverged.
Gradients = Callable[[Tensor, bool], tuple[float, Tensor]]


def _full_batch(objective: Objective) -> Gradients:
    def step(theta: Tensor, whole: bool) -> tuple[float, Tensor]:
        state, gaps = objective.forward(theta)
        return gaps.max().item(), objective.gradient(theta, state, gaps)

    return step


def _batches(objective: Objective, settings: Settings, seed: int) -> Gradients:
    """A fresh random subset a step, drawn from a stream of its own."""
    rng = np.random.default_rng([seed, 1])
    P = len(objective.x)

    def step(theta: Tensor, whole: bool) -> tuple[float, Tensor]:
        top = objective.forward(theta)[1].max().item() if whole else 1.0
        chosen = rng.choice(P, settings.batch, replace=False, shuffle=False)
        return top, objective.batch_gradient(theta, torch.as_tensor(chosen, device=theta.device))

    return step


def _record(
    theta: Tensor,
    theta0: np.ndarray,
    history: History,
    step: int,
    status: str,
    arch: Architecture,
    loss: Loss,
    settings: Settings,
    seed: int,
) -> Run:
    here = history.objective.evaluate(theta)
    gaps = here.gaps[:, 0] if arch.outputs == 1 else here.gaps
    info: dict[str, Any] = {
        **_architecture_fields(arch),
        "P": loss.P,
        "loss": loss.name,
        "epsilon": loss.epsilon,
        "optimizer": settings.optimizer,
        "protocol": settings.protocol,
        "seed": seed,
        "steps": step,
        "status": status,
        "certified": None,
        "final_loss": here.value,
        "n_unsatisfied": here.n_unsatisfied,
        "n_contacts": int((gaps.abs() <= CONTACT * loss.epsilon).sum()),
        "n_misclassified": here.n_misclassified,
        "grad_norm": here.gradient.norm().item(),
        "settings": asdict(settings),
    }
    arrays = (theta.double().cpu().numpy(), theta0, gaps.double().cpu().numpy())
    return Run(*arrays, history.columns(), info)


def _architecture_fields(arch: Architecture) -> dict[str, Any]:
    return {
        "d": arch.d,
        "width": arch.width,
        "depth": arch.depth,
        "activation": arch.activation,
        "outputs": arch.outputs,
        "batch_norm": False,
        "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden,
        "n_effective_expected": arch.n_effective,
    }


def with_options(base: Settings, **options: Any) -> Settings:
    """`base` with every option that is not None replaced; lr, every, factor and floor go to its schedule."""
    given = {name: value for name, value in options.items() if value is not None}
    schedule = {name: given.pop(name) for name in ("lr", "every", "factor", "floor") if name in given}
    return replace(base, schedule=replace(base.schedule, **schedule), **given)
