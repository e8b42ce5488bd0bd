"""Tiles of 64 patterns through the layers and back: pieces of the compiled kernel.

    z_j = W_j a_{j-1} + b_j,  a_j = ρ(z_j);   β_{j-1} = ρ'(z_{j-1}) ∘ W_jᵀ β_j,  ∂L/∂W_j += β_j a_{j-1}ᵀ

A tile stays in the first-level cache, and its patterns are the fastest index, so that every inner loop is a vector
instruction. The formulas are network.py's, which is the oracle in the tests.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from jamtools.records import Array

Sizes = NDArray[np.int64]

TILE_SIZE = 64

RELU, TANH, LINEAR = 0, 1, 2

HINGE, ENTROPY = 0, 1

LOWEST = -1.7976931348623157e308

#: Sums may be reordered and products fused; NaN and infinity keep their meaning, or divergence would go unseen.
FAST = {"reassoc", "contract", "nsz"}

#: Pieces become part of each function that uses them. A piece with a symbol of its own would be taken from another place in
#: the process that compiles it than in one that loads it from the cache, with sums in another order.
piece = numba.njit(fastmath=FAST, nogil=True, cache=True, error_model="numpy", forceinline=True)

LOG2E = 1.4426950408889634

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10

#: 1/k! for k = 14 .. 2
INVERSE_FACTORIALS = tuple(1 / math.factorial(k) for k in range(14, 1, -1))


@piece
def affine(W: Array, b: Array, a: Array, z: Array) -> None:
    """z [out, T] = W [out, in] a [in, T] + b; W may be a transposed view, of which only numbers are read."""
    n_out, n_in = W.shape
    o = 0
    while o + 4 <= n_out:
        z0, z1, z2, z3 = z[o], z[o + 1], z[o + 2], z[o + 3]
        for k in range(TILE_SIZE):
            z0[k] = b[o]
            z1[k] = b[o + 1]
            z2[k] = b[o + 2]
            z3[k] = b[o + 3]
        i = 0
        while i + 4 <= n_in:
            a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
            p0, p1, p2, p3 = W[o, i], W[o, i + 1], W[o, i + 2], W[o, i + 3]
            q0, q1, q2, q3 = W[o + 1, i], W[o + 1, i + 1], W[o + 1, i + 2], W[o + 1, i + 3]
            r0, r1, r2, r3 = W[o + 2, i], W[o + 2, i + 1], W[o + 2, i + 2], W[o + 2, i + 3]
            s0, s1, s2, s3 = W[o + 3, i], W[o + 3, i + 1], W[o + 3, i + 2], W[o + 3, i + 3]
            for k in range(TILE_SIZE):
                u, v, w, x = a0[k], a1[k], a2[k], a3[k]
                z0[k] += p0 * u + p1 * v + p2 * w + p3 * x
                z1[k] += q0 * u + q1 * v + q2 * w + q3 * x
                z2[k] += r0 * u + r1 * v + r2 * w + r3 * x
                z3[k] += s0 * u + s1 * v + s2 * w + s3 * x
            i += 4
        while i < n_in:
            w0, w1, w2, w3 = W[o, i], W[o + 1, i], W[o + 2, i], W[o + 3, i]
            ai = a[i]
            for k in range(TILE_SIZE):
                z0[k] += w0 * ai[k]
                z1[k] += w1 * ai[k]
                z2[k] += w2 * ai[k]
                z3[k] += w3 * ai[k]
            i += 1
        o += 4
    while o < n_out:
        z0 = z[o]
        for k in range(TILE_SIZE):
            z0[k] = b[o]
        for i in range(n_in):
            w0 = W[o, i]
            ai = a[i]
            for k in range(TILE_SIZE):
                z0[k] += w0 * ai[k]
        o += 1


@piece
def outer(beta: Array, a: Array, gW: Array, gb: Array) -> None:
    """gW [out, in] += beta [out, T] aᵀ, gb += Σ beta."""
    n_out, n_in = gW.shape
    o = 0
    while o + 2 <= n_out:
        b0, b1 = beta[o], beta[o + 1]
        i = 0
        while i + 4 <= n_in:
            a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = 0.0
            for k in range(TILE_SIZE):
                v, w = b0[k], b1[k]
                s0 += v * a0[k]
                s1 += v * a1[k]
                s2 += v * a2[k]
                s3 += v * a3[k]
                t0 += w * a0[k]
                t1 += w * a1[k]
                t2 += w * a2[k]
                t3 += w * a3[k]
            gW[o, i] += s0
            gW[o, i + 1] += s1
            gW[o, i + 2] += s2
            gW[o, i + 3] += s3
            gW[o + 1, i] += t0
            gW[o + 1, i + 1] += t1
            gW[o + 1, i + 2] += t2
            gW[o + 1, i + 3] += t3
            i += 4
        while i < n_in:
            ai = a[i]
            s = t = 0.0
            for k in range(TILE_SIZE):
                s += b0[k] * ai[k]
                t += b1[k] * ai[k]
            gW[o, i] += s
            gW[o + 1, i] += t
            i += 1
        o += 2
    if o < n_out:
        b0 = beta[o]
        for i in range(n_in):
            ai = a[i]
            s = 0.0
            for k in range(TILE_SIZE):
                s += b0[k] * ai[k]
            gW[o, i] += s
    for o in range(n_out):
        bo = beta[o]
        s = 0.0
        for k in range(TILE_SIZE):
            s += bo[k]
        gb[o] += s


@piece
def tanh(z: Array, scratch: Array, bits: NDArray[np.int64]) -> None:
    """z [T] ← tanh z, to a few units in the last place: em1/(em1 + 2) with em1 = e^{2|z|} - 1 = 2^k p(r) + 2^k - 1."""
    power = bits.view(np.float64)
    for k in range(TILE_SIZE):
        y = 2 * abs(z[k])
        y = 44.0 if y > 44.0 else y
        n = math.floor(y * LOG2E + 0.5)
        scratch[k] = (y - n * LN2_HIGH) - n * LN2_LOW
        bits[k] = (np.int64(n) + 1023) << 52
    for k in range(TILE_SIZE):
        r = scratch[k]
        p = INVERSE_FACTORIALS[0]
        for c in INVERSE_FACTORIALS[1:]:
            p = p * r + c
        p = r + r * r * p
        em1 = power[k] * p + (power[k] - 1.0)
        t = em1 / (em1 + 2.0)
        z[k] = -t if z[k] < 0 else t


@piece
def activate(rho: int, z: Array, scratch: Array, bits: NDArray[np.int64]) -> None:
    """z [n, T] ← ρ(z)."""
    for i in range(z.shape[0]):
        zi = z[i]
        if rho == RELU:
            for k in range(TILE_SIZE):
                # a NaN is not below zero and stays
                zi[k] = 0.0 if zi[k] < 0.0 else zi[k]
        elif rho == TANH:
            tanh(zi, scratch, bits)


@piece
def slope(rho: int, a: Array, beta: Array) -> None:
    """beta ← beta ∘ ρ'(z), read off the activation a = ρ(z)."""
    for i in range(beta.shape[0]):
        ai, bi = a[i], beta[i]
        if rho == RELU:
            for k in range(TILE_SIZE):
                bi[k] = bi[k] if ai[k] > 0.0 else 0.0
        elif rho == TANH:
            for k in range(TILE_SIZE):
                bi[k] *= 1.0 - ai[k] * ai[k]


@piece
def backward(
    theta: Array,
    sizes: Sizes,
    rho: int,
    a: Array,
    signal: Array,
    beta: Array,
    nothing: Array,
    gradient: Array,
) -> None:
    """gradient [Ñ] += Σ over a tile, from its activations a [L + 1, widest, T] and signal [C, T] = ∂L/∂f."""
    L = len(sizes) - 1
    stop = len(theta)
    here, there = 0, 1
    for c in range(sizes[L]):
        beta[here, c] = signal[c]
    for j in range(L, 0, -1):
        n_out, n_in = sizes[j], sizes[j - 1]
        start = stop - n_out * (n_in + 1)
        middle = stop - n_out
        gW = gradient[start:middle].reshape(n_out, n_in)
        outer(beta[here, :n_out], a[j - 1], gW, gradient[middle:stop])
        if j > 1:
            W = theta[start:middle].reshape(n_out, n_in)
            affine(W.T, nothing, beta[here], beta[there, :n_in])
            slope(rho, a[j - 1], beta[there, :n_in])
        here, there = there, here
        stop = start


@piece
def forward(theta: Array, sizes: Sizes, rho: int, a: Array, scratch: Array, bits: NDArray[np.int64]) -> None:
    """a[j] for j = 1 … L + 1 from a[0]: activations, and f at last."""
    L = len(sizes) - 1
    start = 0
    for j in range(1, L + 1):
        n_out, n_in = sizes[j], sizes[j - 1]
        middle = start + n_out * n_in
        W = theta[start:middle].reshape(n_out, n_in)
        affine(W, theta[middle : middle + n_out], a[j - 1], a[j, :n_out])
        start = middle + n_out
        if j < L:
            activate(rho, a[j, :n_out], scratch, bits)


@piece
def loss_signal(
    kind: int, epsilon: float, curvature: float, f: Array, y: Array, inside: int, signal: Array, gap: Array
) -> None:
    """signal [C, T] ← ∂L/∂f of the first `inside` patterns, 0 of the rest; gap [T] ← their largest Δ, NaN if one is."""
    for c in range(len(signal)):
        fc, yc, s = f[c], y[c], signal[c]
        for k in range(inside):
            delta = epsilon - yc[k] * fc[k]
            if c == 0 or delta > gap[k] or delta != delta:
                gap[k] = delta
            if kind == HINGE:
                s[k] = -curvature * yc[k] * delta if delta > 0.0 else 0.0
            else:
                s[k] = -curvature * yc[k] / (1.0 + math.exp(yc[k] * fc[k]))
        s[inside:] = 0.0
    gap[inside:] = LOWEST
