"""Assembling the Hessian and ranking G, next to plain references and to the matrix-multiply rate, in one run.

    python benchmarks/hessian.py [--quick]

Every pattern is unsatisfied, N_Δ = 3 Ñ. References: for H0 a loop of outer products of rows that are at hand already; for Hp
a backward pass a row through the graph of the gradient; for H torch.func.hessian, and its diagonalisation; for the rank of
G one QR of a matrix of its size. "~": a reference timed on a part of the rows or patterns and multiplied up. Times are the
best of several, ours and theirs in turns. "rate" is the share of the machine's own float64 matrix-multiply rate (all
threads, 1500 x 1500), at the 2 N_Δ Ñ² operations of a product JᵀJ: half of these are enough for a symmetric one. "beyond" is
the peak of memory while H0 and Hp are made, above the two, in a process of its own. Ratios are of interest: absolute
figures are this machine's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jamtools.hessian import assembly
from jamtools.network.architecture import Architecture
from jamtools.network.effective import effective_parameters
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem

SIZES = [(10, 3), (15, 3), (26, 3), (20, 5)]
#: Numbers in each intermediate array of torch.func.hessian, [patterns, h, Ñ]: what it gets of the patterns.
FUNC_NUMBERS = 1 << 23


def sphere(P: int, d: int) -> Tensor:
    x = np.random.default_rng(0).standard_normal((P, d))
    return torch.from_numpy(x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True))


def point(arch: Architecture, P: int) -> tuple[Tensor, Problem]:
    """theta, and a problem whose P patterns are all unsatisfied."""
    theta, x = torch.from_numpy(initial_parameters(arch, "torch", 0)), sphere(P, arch.d)
    y = torch.where(forward(layers_of(theta, arch), x, arch).f > 0, -1.0, 1.0).double()
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P))


def best(seconds: float, *works) -> list[float]:
    """Seconds of a call of each: the shortest of those that fit in so much time, at least three, turn by turn."""
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while len(times[0]) < 3 or time.perf_counter() < end:
        for taken, work in zip(times, works, strict=True):
            taken.append(once(work))
    return [min(taken) for taken in times]


def once(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def product():
    """A large matrix product, PRODUCT operations."""
    a = torch.rand(1500, 1500, dtype=torch.float64)
    return lambda: a @ a


PRODUCT = 2 * 1500**3


# --- the references ---------------------------------------------------------------------------------


def f(theta: Tensor, x: Tensor, arch: Architecture) -> Tensor:
    """f(x; theta) [P] with torch's own functions."""
    for layer, (out, fan_in) in enumerate(arch.shapes):
        weight, bias, theta = theta.split([out * fan_in, out, len(theta) - out * (fan_in + 1)])
        x = torch.nn.functional.linear(x, weight.view(out, fan_in), bias)
        if layer < arch.depth:
            x = torch.relu(x) if arch.activation == "relu" else torch.tanh(x)
    return x[:, 0]


def outer_products(rows: Tensor, P: int) -> Tensor:
    """Σ ∇Δ ⊗ ∇Δ / P, a pattern at a time."""
    H0 = rows.new_zeros(rows.shape[1], rows.shape[1])
    for row in rows:
        H0 += torch.outer(row, row) / P
    return H0


class BackwardRows:
    """Rows of Hp by autograd: Δ in front is held fixed, ∇Δ is differentiated."""

    def __init__(self, theta: Tensor, x: Tensor, y: Tensor, arch: Architecture) -> None:
        self.theta = theta.clone().requires_grad_()
        delta = 0.5 - y[:, 0] * f(self.theta, x, arch)
        loss = (delta.detach() * delta).mean()
        (self.gradient,) = torch.autograd.grad(loss, self.theta, create_graph=True)

    def rows(self, chosen: range) -> Tensor:
        rows = [torch.autograd.grad(self.gradient[i], self.theta, retain_graph=True)[0] for i in chosen]
        return torch.stack(rows)


def func_hessian(theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, P: int) -> Tensor:
    return torch.func.hessian(
        lambda t: 0.5 * (0.5 - y[:, 0] * f(t, x, arch)).clamp(min=0).square().sum() / P
    )(theta)


# --- memory -----------------------------------------------------------------------------------------


def status(name: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def beyond(arch: Architecture, P: int) -> int:
    """Bytes at the peak of hessian() beyond H0 and Hp; to be called in a fresh process."""
    small = Architecture(arch.d, 4, 2, arch.activation)
    assembly.hessian(*point(small, 2000))  # libraries have loaded and set up
    theta, problem = point(arch, P)
    before = status("VmRSS")
    assembly.hessian(theta, problem)
    return status("VmHWM") - before - 16 * arch.n_parameters**2


def in_child(work, *arguments) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


# --- the table --------------------------------------------------------------------------------------


def line(what: str, ours: float, theirs: float, mark: str = " ", more: str = "") -> None:
    """`mark` is "~" for a reference that was timed in part."""
    print(
        f"    {what:32} {1e3 * ours:9.1f} {mark}{1e3 * theirs:10.1f} {theirs / ours:8.1f} {more}",
        flush=True,
    )


def case(arch: Architecture, seconds: float, n_rows: int) -> None:
    n, P = arch.n_parameters, 3 * arch.n_parameters
    theta, problem = point(arch, P)
    x, y = problem.x, problem.y
    print(f"{arch.activation}, d=h={arch.d} L={arch.depth}, Ñ={n}, N_Δ={P}")
    h0_line(theta, problem, seconds, n_rows)
    hp_line(theta, problem, seconds, n_rows)
    assemble = partial(assembly.hessian, theta, problem)
    H = assemble().H
    ours, values, vectors = best(
        seconds, assemble, lambda: torch.linalg.eigvalsh(H), lambda: torch.linalg.eigh(H)
    )
    part = min(P, max(1, FUNC_NUMBERS // (arch.width * n)))
    theirs = once(lambda: func_hessian(theta, x[:part], y[:part], arch, P)) * P / part
    line("H0 and Hp; torch.func.hessian", ours, theirs, "~" if part < P else " ")
    line("H0 and Hp; eigenvalues of H", ours, values)
    line("H0 and Hp; eigenvectors as well", ours, vectors)
    peak, one = in_child(beyond, arch, P) / 2**20, 8 * n * n / 2**20
    block = assembly.bytes_needed(arch) / 2**20 - 3 * one
    print(
        f"    beyond: {peak:.0f} MiB; announced: {one:.0f} (a third matrix) + {block:.0f} (a block)",
        flush=True,
    )


def h0_line(theta: Tensor, problem: Problem, seconds: float, n_rows: int) -> None:
    x, arch, passes = problem.x, problem.arch, assembly.Passes(theta, problem)
    fail = torch.ones(len(x), 1, dtype=torch.bool)
    ours, one = best(seconds, lambda: assembly.h0(passes, fail), product())
    part = min(len(x), 5 * n_rows)
    rows = torch.func.vmap(torch.func.grad(lambda t, one: f(t, one[None], arch)[0]), (None, 0))(
        theta, x[:part]
    )
    theirs = once(lambda: outer_products(rows, problem.loss.P)) * len(x) / part
    share = 2 * len(x) * arch.n_parameters**2 / ours / (PRODUCT / one)
    line("H0; outer products", ours, theirs, "~" if part < len(x) else " ", f"{share:6.0%}")


def hp_line(theta: Tensor, problem: Problem, seconds: float, n_rows: int) -> None:
    x, y, arch, passes = problem.x, problem.y, problem.arch, assembly.Passes(theta, problem)
    fail = torch.ones(len(x), 1, dtype=torch.bool)
    reference, chosen = (
        BackwardRows(theta, x, y, arch),
        range(0, arch.n_parameters, arch.n_parameters // n_rows),
    )
    assemble = partial(assembly.hp, passes, fail)
    ours, theirs = best(seconds, assemble, lambda: reference.rows(chosen))
    Hp = assemble()
    error = (Hp[chosen] - reference.rows(chosen)).abs().max() / Hp.abs().max()
    theirs *= arch.n_parameters / len(chosen)
    line("Hp; a backward pass a row", ours, theirs, "~", f"       differ by {error:.0e} of the largest")


def rank(arch: Architecture, P: int, seconds: float) -> None:
    theta, x = torch.from_numpy(initial_parameters(arch, "orthogonal", 0)), sphere(P, arch.d)
    n, columns = arch.n_parameters, P * (arch.d + 1)
    print(f"{arch.activation}, d=h={arch.d} L={arch.depth}: rank of G, {n} x {columns}")
    matrix = torch.randn(columns, n, dtype=torch.float64)
    qr, everything, early = best(
        seconds,
        lambda: torch.linalg.qr(matrix, mode="r"),
        lambda: effective_parameters(theta, x, arch, whole=True),
        lambda: effective_parameters(theta, x, arch),
    )
    line("all columns; one QR", everything, qr)
    line("stopping early; one QR", early, qr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the smallest case, a few rows of the references"
    )
    quick = parser.parse_args().quick
    seconds, n_rows = (0.3, 10) if quick else (2.0, 60)
    rate = PRODUCT / best(seconds, product())[0] / 1e9
    print(f"{torch.get_num_threads()} threads, float64 matrix product {rate:.1f} GFLOP/s")
    print(f"    {'ms':32} {'ours':>9} {'reference':>11} {'ratio':>8} {'rate':>6}")
    for d, L in SIZES[: 1 if quick else None]:
        for activation in ("relu", "tanh"):
            case(Architecture(d, d, L, activation), seconds, n_rows)
    for activation in ("relu", "tanh"):
        rank(Architecture(*((10, 10) if quick else (15, 15)), 3, activation), 500 if quick else 2000, seconds)


if __name__ == "__main__":
    main()
