"""The forward and backward pass of a tile of 64 patterns: inlined parts of the compiled kernel.

    z_j = W_j a_{j-1} + b_j,  a_j = ρ(z_j);   β_{j-1} = ρ'(z_{j-1}) ∘ W_jᵀ β_j,  ∂L/∂W_j += β_j a_{j-1}ᵀ

A tile stays in the first-level cache of the processor. Its patterns are the fastest index, so that every inner loop is
a vector instruction. jamtools.network computes the same by torch; the tests compare the two.

Source: arXiv:1809.09349, section II; the derivatives are the chain rule.
"""

from __future__ import annotations

import math

import numpy as np

from jamtools.engines.kernel.compilation import inlined
from jamtools.engines.kernel.records import Indices, Network, Workspace
from jamtools.records import Array

#: Patterns per tile; T in the shapes.
TILE_SIZE = 64

#: Codes of the activation ρ.
RELU, TANH, LINEAR = 0, 1, 2

#: Codes of the loss.
HINGE, CROSS_ENTROPY = 0, 1

#: The lowest float64 number, the initial value of a largest Δ. An infinite value would count as diverged.
LOWEST_GAP = -1.7976931348623157e308

#: 1/ln 2.
LOG2E = 1.4426950408889634

#: ln 2 as the sum of two numbers, so that n·LN2_HIGH is exact.
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10

#: 1/k! for k = 14 … 2
INVERSE_FACTORIALS = tuple(1 / math.factorial(k) for k in range(14, 1, -1))


@inlined
def affine(W: Array, b: Array, a: Array, z: Array) -> None:
    """z [out, T] ← W [out, in] a [in, T] + b [out]. W may be a transposed view, because it is read number by number."""
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


@inlined
def outer(beta: Array, a: Array, gW: Array, gb: Array) -> None:
    """gW [out, in] += beta [out, T] a [in, T]ᵀ, gb [out] += Σ beta; gb [0]: there are no biases."""
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
    for o in range(len(gb)):
        bo = beta[o]
        s = 0.0
        for k in range(TILE_SIZE):
            s += bo[k]
        gb[o] += s


@inlined
def tanh(z: Array, scratch: Array, bits: Indices) -> None:
    """z [T] ← tanh z, to a few units in the last place. scratch [T] and bits [T] are overwritten.

    tanh |z| = E/(E + 2),  E = e^{2|z|} - 1 = 2^n p(r) + 2^n - 1,  2|z| = n ln 2 + r,  p(r) = e^r - 1 by its series.
    For 2|z| > 44, tanh |z| is 1 in float64.
    """
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


@inlined
def activate(activation: int, z: Array, scratch: Array, bits: Indices) -> None:
    """z [n, T] ← ρ(z). scratch [T] and bits [T] are overwritten."""
    for i in range(z.shape[0]):
        zi = z[i]
        if activation == RELU:
            for k in range(TILE_SIZE):
                # NaN is not below zero, so it stays NaN
                zi[k] = 0.0 if zi[k] < 0.0 else zi[k]
        elif activation == TANH:
            tanh(zi, scratch, bits)


@inlined
def slope(activation: int, a: Array, beta: Array) -> None:
    """beta [n, T] ← beta ∘ ρ'(z), where ρ' is a function of the activation a [n, T] = ρ(z)."""
    for i in range(beta.shape[0]):
        ai, bi = a[i], beta[i]
        if activation == RELU:
            for k in range(TILE_SIZE):
                bi[k] = bi[k] if ai[k] > 0.0 else 0.0
        elif activation == TANH:
            for k in range(TILE_SIZE):
                bi[k] *= 1.0 - ai[k] * ai[k]


@inlined
def forward(theta: Array, network: Network, workspace: Workspace) -> None:
    """Fills workspace.activations with a_1 … a_L and f, from the inputs in its layer 0; theta [Ñ]."""
    sizes, a = network.sizes, workspace.activations
    L = len(sizes) - 1
    start = 0
    for j in range(1, L + 1):
        n_out, n_in = sizes[j], sizes[j - 1]
        middle = start + n_out * n_in
        W = theta[start:middle].reshape(n_out, n_in)
        start = middle + network.biases[j - 1]
        affine(W, theta[middle:start] if start > middle else workspace.zeros, a[j - 1], a[j, :n_out])
        if j < L:
            activate(network.activation, a[j, :n_out], workspace.scratch, workspace.bits)


@inlined
def loss_signal(network: Network, f: Array, y: Array, inside: int, signal: Array, gap: Array) -> None:
    """signal [C, T] ← ∂L/∂f of the first `inside` patterns and 0 for the rest, from f [C, T] and labels y [C, T].

    gap [T] ← the largest Δ of each pattern's outputs, NaN if one of them is NaN.
    """
    epsilon, curvature = network.epsilon, network.curvature
    for c in range(len(signal)):
        fc, yc, s = f[c], y[c], signal[c]
        for k in range(inside):
            delta = epsilon - yc[k] * fc[k]
            if c == 0 or delta > gap[k] or delta != delta:
                gap[k] = delta
            if network.loss == HINGE:
                s[k] = -curvature * yc[k] * delta if delta > 0.0 else 0.0
            else:
                s[k] = -curvature * yc[k] / (1.0 + math.exp(yc[k] * fc[k]))
        s[inside:] = 0.0
    gap[inside:] = LOWEST_GAP


@inlined
def backward(
    theta: Array, network: Network, a: Array, signal: Array, workspace: Workspace, gradient: Array
) -> None:
    """gradient [Ñ] += the sum over a tile, from the activations a [L', h, T] and signal [C, T] = ∂L/∂f; theta [Ñ]."""
    sizes, beta = network.sizes, workspace.beta
    L = len(sizes) - 1
    stop = len(theta)
    upper, lower = 0, 1
    for c in range(sizes[L]):
        beta[upper, c] = signal[c]
    for j in range(L, 0, -1):
        n_out, n_in = sizes[j], sizes[j - 1]
        middle = stop - network.biases[j - 1]
        start = middle - n_out * n_in
        gW = gradient[start:middle].reshape(n_out, n_in)
        outer(beta[upper, :n_out], a[j - 1], gW, gradient[middle:stop])
        if j > 1:
            W = theta[start:middle].reshape(n_out, n_in)
            affine(W.T, workspace.zeros, beta[upper], beta[lower, :n_in])
            slope(network.activation, a[j - 1], beta[lower, :n_in])
        upper, lower = lower, upper
        stop = start
