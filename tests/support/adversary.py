"""An adversary of certificates: a search for a lower loss near a point, in numpy, which shares no code with the certificate.

    L = 1/(2P) Σ_µ max(0, ε - y_µ f(x_µ))²,      descent: BFGS with a weak Wolfe line search from W + δ, |δ| = radius ‖W‖

Source: A. S. Lewis and M. L. Overton, Math. Program. 141, 135 (2013), for the line search.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Array = np.ndarray


class Network:
    """The loss of a fully connected network with one output and its gradient, at a flat theta [Ñ]."""

    def __init__(self, x: Array, y: Array, width: int, depth: int, activation: str, epsilon: float) -> None:
        self.x, self.y, self.epsilon = x, y, epsilon
        sizes = [x.shape[1], *[width] * depth, 1]
        self.shapes = list(zip(sizes[1:], sizes[:-1]))
        self.relu = activation == "relu"

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        """Weights [out, in] and biases [out]."""
        parts, start = [], 0
        for out, into in self.shapes:
            end = start + out * into
            parts.append((theta[start:end].reshape(out, into), theta[end : end + out]))
            start = end + out
        return parts

    def balanced(self, theta: Array) -> Array:
        """The same ReLU network with equal norms into and out of each neuron; other networks as they are."""
        theta = theta.copy()
        for _ in range(200 if self.relu else 0):
            layers = self.layers(theta)
            for (w, b), (v, _) in pairwise(layers):
                into, out = np.sqrt((w**2).sum(1) + b**2), np.sqrt((v**2).sum(0))
                s = np.sqrt(np.where((into > 0) & (out > 0), out / np.where(into > 0, into, 1), 1.0))
                w *= s[:, None]
                b *= s
                v /= s
        return theta

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """L and ∇L [Ñ]."""
        a, z = [self.x], []
        for w, b in self.layers(theta):
            z.append(a[-1] @ w.T + b)
            a.append(np.maximum(z[-1], 0) if self.relu else np.tanh(z[-1]))
        gap = np.maximum(0, self.epsilon - self.y * z[-1][:, 0])
        beta, parts = (-self.y * gap / len(self.y))[:, None], []
        for j in reversed(range(len(z))):
            parts += [beta.sum(0), (beta.T @ a[j]).ravel()]
            if j:
                slope = (z[j - 1] > 0) if self.relu else 1 - a[j] ** 2
                beta = (beta @ self.layers(theta)[j][0]) * slope
        return float(0.5 * (gap**2).mean()), np.concatenate(parts[::-1])


def lowest_near(
    network: Network, theta: Array, radius: float, kicks: int, seed: int, steps: int = 150
) -> float:
    """The lowest L after descents from kicks of up to `radius` ‖W‖ around a balanced theta [Ñ], in random directions.

    Half of the kicks are spread over all parameters, half over those of one neuron, which is scaled.
    """
    rng, size, lowest = np.random.default_rng(seed), np.linalg.norm(theta), np.inf
    for i in range(kicks):
        direction = rng.standard_normal(len(theta))
        if i % 2:
            layer = rng.integers(len(network.shapes) - 1)
            neuron, own = rng.integers(network.shapes[layer][0]), np.zeros(len(theta))
            for part, whole in zip(network.layers(own)[layer], network.layers(theta)[layer]):
                part[neuron] = whole[neuron]
            direction = own * rng.choice([-1.0, 1.0]) if own.any() else direction
        kick = radius * size * 10 ** rng.uniform(-1, 0) * direction / np.linalg.norm(direction)
        lowest = min(lowest, _descended(network, theta + kick, steps))
    return lowest


def _descended(network: Network, theta: Array, steps: int) -> float:
    value, g = network(theta)
    inverse = np.eye(len(theta)) * 1e-4 * np.linalg.norm(theta) / (np.linalg.norm(g) or 1.0)
    for _ in range(steps):
        d = -inverse @ g
        slope = d @ g
        if not slope < 0:
            break
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(50):
            new, new_g = network(theta + t * d)
            if new > value + 1e-4 * t * slope:
                high = t
            elif new_g @ d < 0.9 * slope:
                low = t
            else:
                break
            t = 2 * low if high == np.inf else (low + high) / 2
        else:
            break
        s, change = t * d, new_g - g
        theta, value, g = theta + s, new, new_g
        if (sy := s @ change) > 0:
            v = inverse @ change
            inverse += (1 + change @ v / sy) / sy * np.outer(s, s) - (np.outer(v, s) + np.outer(s, v)) / sy
    return value
