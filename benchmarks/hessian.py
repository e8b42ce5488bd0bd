"""Times to assemble the Hessian and to find the rank of G, beside plain references that are timed in the same run.

    python benchmarks/hessian.py [--quick]

All patterns are unsatisfied, N_Δ = 3 Ñ. The references are

    H0           a loop of outer products of rows that are computed already
    Hp           one backward pass per row through the graph of the gradient
    H            torch.func.hessian, and the diagonalisation of H
    rank of G    one QR of a matrix of the size of G

"~" marks a reference that was timed on a part of the rows or patterns and extrapolated. Times are the shortest of several,
jamtools and reference in turns. "rate" is a share of the rate of this machine at float64 matrix products (all threads,
1500 x 1500), with the 2 N_Δ Ñ² operations of a product JᵀJ; a symmetric product needs half of these. "beyond" is the peak of
memory above that of H0 and Hp while they are assembled, in a separate process. The ratios are comparable between machines,
the absolute numbers are not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
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

#: d = h and L of the networks.
HESSIAN_CASES = [(10, 3), (15, 3), (26, 3), (20, 5)]

#: The largest number of elements in an intermediate array [patterns, h, Ñ] of torch.func.hessian: it limits the patterns.
FUNC_MAX_ELEMENTS = 1 << 23

#: Rows and columns of the matrices whose product gives the rate of the machine, and the operations of this product.
PRODUCT_SIZE = 1500
PRODUCT_OPERATIONS = 2 * PRODUCT_SIZE**3


#: A function whose time is measured.
Work = Callable[[], object]


def sphere(P: int, d: int) -> Tensor:
    """Patterns [P, d] on the sphere of radius √d."""
    x = np.random.default_rng(0).standard_normal((P, d))
    return torch.from_numpy(x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True))


def point(arch: Architecture, P: int) -> tuple[Tensor, Problem]:
    """theta [Ñ], and a problem whose P patterns are all unsatisfied."""
    theta, x = torch.from_numpy(initial_parameters(arch, "torch", 0)), sphere(P, arch.d)
    y = torch.where(forward(layers_of(theta, arch), x, arch).f > 0, -1.0, 1.0).double()
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P))


def shortest(seconds: float, *works: Work) -> list[float]:
    """For each function the seconds of its fastest call, called in turns: in all `seconds` per function, at least thrice."""
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while len(times[0]) < 3 or time.perf_counter() < end:
        for durations, work in zip(times, works, strict=True):
            durations.append(timed(work))
    return [min(durations) for durations in times]


def timed(work: Work) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matrix_product() -> Work:
    """A function that multiplies two large matrices, PRODUCT_OPERATIONS."""
    a = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, dtype=torch.float64)
    return lambda: a @ a


# --- the references ---------------------------------------------------------------------------------


def f(theta: Tensor, x: Tensor, arch: Architecture) -> Tensor:
    """f(x; theta) [P] for theta [Ñ] and x [P, d], with functions of torch alone."""
    for layer, (out, fan_in) in enumerate(arch.shapes):
        weight, bias, theta = theta.split([out * fan_in, out, len(theta) - out * (fan_in + 1)])
        x = torch.nn.functional.linear(x, weight.view(out, fan_in), bias)
        if layer < arch.depth:
            x = torch.relu(x) if arch.activation == "relu" else torch.tanh(x)
    return x[:, 0]


def outer_products(rows: Tensor, P: int) -> Tensor:
    """Σ ∇Δ ⊗ ∇Δ / P [Ñ, Ñ] from the rows ∇Δ [patterns, Ñ], one after the other."""
    H0 = rows.new_zeros(rows.shape[1], rows.shape[1])
    for row in rows:
        H0 += torch.outer(row, row) / P
    return H0


class BackwardRows:
    """Rows of Hp by autograd: of Δ ∇Δ only ∇Δ is differentiated."""

    def __init__(self, theta: Tensor, x: Tensor, y: Tensor, arch: Architecture) -> None:
        self.theta = theta.clone().requires_grad_()
        delta = 0.5 - y[:, 0] * f(self.theta, x, arch)
        loss = (delta.detach() * delta).mean()
        (self.gradient,) = torch.autograd.grad(loss, self.theta, create_graph=True)

    def rows(self, chosen: range) -> Tensor:
        """The chosen rows [k, Ñ]."""
        rows = [torch.autograd.grad(self.gradient[i], self.theta, retain_graph=True)[0] for i in chosen]
        return torch.stack(rows)


def func_hessian(theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, P: int) -> Tensor:
    """H [Ñ, Ñ] of the patterns x, y, with the loss divided by P."""
    return torch.func.hessian(
        lambda t: 0.5 * (0.5 - y[:, 0] * f(t, x, arch)).clamp(min=0).square().sum() / P
    )(theta)


# --- memory -----------------------------------------------------------------------------------------


def process_memory(name: str) -> int:
    """A field of /proc/self/status in bytes: VmRSS, the memory now, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def peak_beyond_result(arch: Architecture, P: int) -> int:
    """Bytes at the peak of hessian() above those of H0 and Hp; only for a new process."""
    small = Architecture(arch.d, 4, 2, arch.activation)
    assembly.hessian(*point(small, 2000))  # loads the libraries and their work space
    theta, problem = point(arch, P)
    before = process_memory("VmRSS")
    assembly.hessian(theta, problem)
    return process_memory("VmHWM") - before - 16 * arch.n_parameters**2


def in_child(work: Callable[..., int], *arguments: object) -> int:
    """The result of a function that is called in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


# --- the table --------------------------------------------------------------------------------------


def print_line(label: str, ours: float, theirs: float, mark: str = " ", more: str = "") -> None:
    """Prints the times of jamtools and of a reference in ms; mark "~": the reference was extrapolated."""
    print(
        f"    {label:32} {1e3 * ours:9.1f} {mark}{1e3 * theirs:10.1f} {theirs / ours:8.1f} {more}",
        flush=True,
    )


def print_case(arch: Architecture, seconds: float, n_rows: int) -> None:
    """Prints the times of one network; n_rows: how many rows of a slow reference are timed."""
    n, P = arch.n_parameters, 3 * arch.n_parameters
    theta, problem = point(arch, P)
    x, y = problem.x, problem.y
    print(f"{arch.activation}, d=h={arch.d} L={arch.depth}, Ñ={n}, N_Δ={P}")
    print_h0(theta, problem, seconds, n_rows)
    print_hp(theta, problem, seconds, n_rows)
    assemble = partial(assembly.hessian, theta, problem)
    H = assemble().H
    ours, values, vectors = shortest(
        seconds, assemble, lambda: torch.linalg.eigvalsh(H), lambda: torch.linalg.eigh(H)
    )
    part = min(P, max(1, FUNC_MAX_ELEMENTS // (arch.width * n)))
    theirs = timed(lambda: func_hessian(theta, x[:part], y[:part], arch, P)) * P / part
    print_line("H0 and Hp; torch.func.hessian", ours, theirs, "~" if part < P else " ")
    print_line("H0 and Hp; eigenvalues of H", ours, values)
    print_line("H0 and Hp; eigenvectors as well", ours, vectors)
    peak, matrix = in_child(peak_beyond_result, arch, P) / 2**20, 8 * n * n / 2**20
    block = assembly.bytes_needed(arch) / 2**20 - 3 * matrix
    print(
        f"    beyond: {peak:.0f} MiB; announced: {matrix:.0f} (a third matrix) + {block:.0f} (a block)",
        flush=True,
    )


def print_h0(theta: Tensor, problem: Problem, seconds: float, n_rows: int) -> None:
    """Prints the times of H0."""
    x, arch, passes = problem.x, problem.arch, assembly.Passes(theta, problem)
    unsatisfied = torch.ones(len(x), 1, dtype=torch.bool)
    ours, reference_product = shortest(seconds, lambda: assembly.h0(passes, unsatisfied), matrix_product())
    part = min(len(x), 5 * n_rows)
    rows = torch.func.vmap(torch.func.grad(lambda t, pattern: f(t, pattern[None], arch)[0]), (None, 0))(
        theta, x[:part]
    )
    theirs = timed(lambda: outer_products(rows, problem.loss.P)) * len(x) / part
    share = 2 * len(x) * arch.n_parameters**2 / ours / (PRODUCT_OPERATIONS / reference_product)
    print_line("H0; outer products", ours, theirs, "~" if part < len(x) else " ", f"{share:6.0%}")


def print_hp(theta: Tensor, problem: Problem, seconds: float, n_rows: int) -> None:
    """Prints the times of Hp."""
    x, y, arch, passes = problem.x, problem.y, problem.arch, assembly.Passes(theta, problem)
    unsatisfied = torch.ones(len(x), 1, dtype=torch.bool)
    reference = BackwardRows(theta, x, y, arch)
    chosen = range(0, arch.n_parameters, arch.n_parameters // n_rows)
    assemble = partial(assembly.hp, passes, unsatisfied)
    ours, theirs = shortest(seconds, assemble, lambda: reference.rows(chosen))
    Hp = assemble()
    error = (Hp[chosen] - reference.rows(chosen)).abs().max() / Hp.abs().max()
    theirs *= arch.n_parameters / len(chosen)
    print_line("Hp; a backward pass a row", ours, theirs, "~", f"       differ by {error:.0e} of the largest")


def print_rank(arch: Architecture, P: int, seconds: float) -> None:
    """Prints the times of the rank of G for P patterns."""
    theta, x = torch.from_numpy(initial_parameters(arch, "orthogonal", 0)), sphere(P, arch.d)
    n, columns = arch.n_parameters, P * (arch.d + 1)
    print(f"{arch.activation}, d=h={arch.d} L={arch.depth}: rank of G, {n} x {columns}")
    matrix = torch.randn(columns, n, dtype=torch.float64)
    qr, everything, early = shortest(
        seconds,
        lambda: torch.linalg.qr(matrix, mode="r"),
        lambda: effective_parameters(theta, x, arch, whole=True),
        lambda: effective_parameters(theta, x, arch),
    )
    print_line("all columns; one QR", everything, qr)
    print_line("stopping early; one QR", early, qr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="the smallest network, and a few rows of the references"
    )
    quick = parser.parse_args().quick
    seconds, n_rows = (0.3, 10) if quick else (2.0, 60)
    rate = PRODUCT_OPERATIONS / shortest(seconds, matrix_product())[0] / 1e9
    print(f"{torch.get_num_threads()} threads, float64 matrix product {rate:.1f} GFLOP/s")
    print(f"    {'ms':32} {'ours':>9} {'reference':>11} {'ratio':>8} {'rate':>6}")
    for d, L in HESSIAN_CASES[: 1 if quick else None]:
        for activation in ("relu", "tanh"):
            print_case(Architecture(d, d, L, activation), seconds, n_rows)
    for activation in ("relu", "tanh"):
        print_rank(
            Architecture(*((10, 10) if quick else (15, 15)), 3, activation), 500 if quick else 2000, seconds
        )


if __name__ == "__main__":
    main()
