"""An adversary of certificates: a search for a lower loss near a point, in numpy, which shares no code with the certificate.

    L = c/P Σ_µ ½ max(0, ε - y_µ f(x_µ))²,  c = 1 (C = 1) or 2/C;      W → W + δ, |δ| ≤ radius ‖W‖, then a descent

The displacements δ are random in all parameters, in one layer or in one neuron; they scale a neuron; they follow directions
of little curvature, those that a BFGS inverse Hessian is large in; and they cross the nearest kink or the nearest Δ = 0,
along the cusps. The descent is BFGS with a weak Wolfe line search. Each line ends with an exact search. A decrease counts
when extended precision confirms it.

Source: A. S. Lewis and M. L. Overton, Math. Program. 141, 135 (2013), for the line search.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jamtools.records import Dataset, Run

Array = np.ndarray

#: A pre-activation this small, in scales of its terms, is a cusp that a displacement keeps.
KEPT_CUSP = 1e-9

#: How many kinks, and how many Δ, are candidates for the nearest one.
NEAREST = 30


class Network:
    """The loss of a fully connected network and its gradient, at a flat theta [Ñ]; y [P] or [P, C]."""

    def __init__(self, x: Array, y: Array, width: int, depth: int, activation: str, epsilon: float) -> None:
        self.x, self.y, self.epsilon = x, y.reshape(len(x), -1), epsilon
        sizes = [x.shape[1], *[width] * depth, self.y.shape[1]]
        self.shapes = list(zip(sizes[1:], sizes[:-1]))
        self.activation, self.relu = activation, activation == "relu"
        outputs = self.y.shape[1]
        self.factor = (1.0 if outputs == 1 else 2.0 / outputs) / len(x)

    @classmethod
    def of(cls, run: Run, data: Dataset) -> Network:
        """That of a run on its patterns."""
        info = run.info
        return cls(data.x, data.y, info["width"], info["depth"], info["activation"], info["epsilon"])

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

    def forward(self, theta: Array) -> tuple[list[Array], list[Array]]:
        """The inputs a of each layer, and its pre-activations z."""
        a, z = [self.x], []
        for w, b in self.layers(theta):
            z.append(a[-1] @ w.T + b)
            a.append(self._rho(z[-1]))
        return a[:-1], z

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """L and ∇L [Ñ]."""
        a, z = self.forward(theta)
        gap = np.maximum(0, self.epsilon - self.y * z[-1])
        return 0.5 * self.factor * (gap**2).sum(), self._back(theta, a, z, -self.factor * self.y * gap)

    def exact(self, theta: Array) -> np.longdouble:
        """L in extended precision."""
        a = self.x.astype(np.longdouble)
        for j, (w, b) in enumerate(self.layers(theta.astype(np.longdouble))):
            a = (self._rho(a) if j else a) @ w.T + b
        gap = np.maximum(0, np.longdouble(self.epsilon) - self.y * a)
        return np.longdouble(0.5) * self.factor * (gap**2).sum()

    def normal(self, theta: Array, layer: int, pattern: int, neuron: int) -> Array:
        """∇z [Ñ] of one pre-activation, layer from 0; the output layer too."""
        one = Network.__new__(Network)
        one.__dict__.update(self.__dict__, x=self.x[pattern : pattern + 1], shapes=self.shapes[: layer + 1])
        n = sum(out * (into + 1) for out, into in one.shapes)
        a, z = one.forward(theta[:n])
        beta = np.zeros((1, self.shapes[layer][0]))
        beta[0, neuron] = 1
        return np.concatenate([one._back(theta[:n], a, z, beta), np.zeros(len(theta) - n)])

    def _rho(self, z: Array) -> Array:
        return np.maximum(z, 0) if self.relu else np.tanh(z) if self.activation == "tanh" else z

    def _slope(self, z: Array) -> Array:
        if self.activation == "linear":
            return np.ones_like(z)
        return (z > 0).astype(z.dtype) if self.relu else 1 - np.tanh(z) ** 2

    def _back(self, theta: Array, a: list[Array], z: list[Array], beta: Array) -> Array:
        """The gradient [Ñ] from that with respect to the last pre-activations."""
        layers, parts = self.layers(theta), []
        for j in reversed(range(len(z))):
            parts += [beta.sum(0), (beta.T @ a[j]).ravel()]
            if j:
                beta = (beta @ layers[j][0]) * self._slope(z[j - 1])
        return np.concatenate(parts[::-1])


class Fall(NamedTuple):
    """A lower loss: by how much, relative to it; the kind of the displacement.

    start, end: the length of the displacement and the distance of the lower point, in ‖W‖.
    """

    gain: float
    kind: str
    start: float
    end: float


def attack(
    network: Network, theta: Array, radius: float, kicks: int, seed: int, error: float, steps: int = 150
) -> Fall | None:
    """The deepest fall after displacements of up to `radius` ‖W‖ from a balanced theta [Ñ]; None where nothing is lower.

    error: the decrease, relative to the loss, that counts as round-off.
    """
    size, loss, exact = float(np.linalg.norm(theta)) or 1.0, network(theta)[0], network.exact(theta)
    deepest = None
    for kind, start in _displaced(network, theta, radius * size, kicks, np.random.default_rng(seed)):
        end, value, _ = descended(network, start, steps, 0.1 * float(np.linalg.norm(start - theta)))
        end, value = _along(network, theta, end, value, radius * size)
        if value < loss * (1 - error):
            gain = float(1 - network.exact(end) / exact)
            fall = Fall(gain, kind, *(float(np.linalg.norm(point - theta)) / size for point in (start, end)))
            if gain > error and (deepest is None or gain > deepest.gain):
                deepest = fall
    return deepest


def lowest_near(
    network: Network, theta: Array, radius: float, kicks: int, seed: int, steps: int = 150
) -> float:
    """The lowest L that an attack finds, or L at theta."""
    fall = attack(network, theta, radius, kicks, seed, 0.0, steps)
    return network(theta)[0] * (1 - (fall.gain if fall else 0.0))


def _displaced(
    network: Network, theta: Array, length: float, kicks: int, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """The kind and the point [Ñ] of each displacement, of a length between a thousandth of `length` and all of it."""
    directions = _directions(network, theta, length, rng)
    for i in range(kicks):
        kind, direction = next(directions)
        far = length if kind in ("kink", "gap") else length * 10 ** (-3 * rng.uniform() * (i % 3 > 0))
        if direction.any():
            norm = np.linalg.norm(direction)
            yield (
                kind,
                theta + direction * (min(1.0, far / norm) if kind in ("kink", "gap") else far / norm),
            )


def _directions(
    network: Network, theta: Array, length: float, rng: np.random.Generator
) -> Iterator[tuple[str, Array]]:
    """Directions [Ñ] for ever, one kind after the other; those of kinks and Δ have the length that crosses."""
    random = lambda: rng.standard_normal(len(theta))
    near = theta + 1e-2 * length * random() / np.sqrt(len(theta))
    _, _, inverse = descended(network, near, 3 * len(theta), 1e-3 * length)
    soft = np.linalg.eigh(inverse)[1][:, -6:]
    tangent = _along_cusps(network, theta)
    kinks, gaps = _nearest(network, theta, False), _nearest(network, theta, True)
    while True:
        yield "all", random()
        yield "layer", random() * _layer(network, theta, rng)
        yield "neuron", random() * _neuron(network, theta, rng)
        yield "scale", theta * _neuron(network, theta, rng, outgoing=False) * rng.choice([-1, 1])
        yield "soft", soft @ rng.standard_normal(soft.shape[1])
        yield "soft", soft[:, rng.integers(soft.shape[1])] * rng.choice([-1, 1])
        for kind, places in (("kink", kinks), ("gap", gaps)):
            if places:
                at, value = places[min(int(rng.exponential(3)), len(places) - 1)]
                normal = network.normal(theta, *at)
                inside = tangent(normal)
                across = inside @ normal
                beyond = 1 + rng.exponential(1)
                yield kind, -beyond * value * inside / across if across > 1e-12 else normal * 0
        yield "tangent", tangent(random())


def _along_cusps(network: Network, theta: Array):
    """The projection of a vector [Ñ] on the directions that keep all pre-activations that are zero."""
    normals = [network.normal(theta, *at) for at, size, _ in _sizes(network, theta) if size < KEPT_CUSP]
    if not normals:
        return lambda v: v
    u, s, _ = np.linalg.svd(np.array(normals).T, full_matrices=False)
    basis = u[:, s > 1e-10 * s[0]]
    return lambda v: v - basis @ (basis.T @ v)


def _sizes(network: Network, theta: Array) -> list[tuple[tuple[int, int, int], float, float]]:
    """(layer, pattern, neuron), |z| in its terms, and z, of every hidden pre-activation of an unsatisfied pattern."""
    if not network.relu:
        return []
    a, z = network.forward(theta)
    unsatisfied = np.flatnonzero((network.epsilon - network.y * z[-1] > 0).any(1))
    found = []
    for j, (w, b) in enumerate(network.layers(theta)[:-1]):
        terms = np.abs(a[j]) @ np.abs(w).T + np.abs(b)
        found += [
            ((j, int(p), n), abs(z[j][p, n]) / (terms[p, n] or 1), z[j][p, n])
            for p in unsatisfied
            for n in range(len(b))
        ]
    return found


def _nearest(network: Network, theta: Array, gaps: bool) -> list[tuple[tuple[int, int, int], float]]:
    """(layer, pattern, neuron) and value of the nearest zeros: of pre-activations that are no cusps, or of Δ."""
    if gaps:
        values = network.forward(theta)[1][-1] - network.epsilon * network.y
        last = len(network.shapes) - 1
        found = [((last, int(p), int(c)), abs(v), v) for (p, c), v in np.ndenumerate(values)]
    else:
        found = [place for place in _sizes(network, theta) if place[1] >= KEPT_CUSP]
    found.sort(key=lambda place: place[1])
    return [(at, value) for at, _, value in found[:NEAREST]]


def _layer(network: Network, theta: Array, rng: np.random.Generator) -> Array:
    """1 at the parameters of one layer, else 0."""
    mask = np.zeros(len(theta))
    for part in network.layers(mask)[rng.integers(len(network.shapes))]:
        part[:] = 1
    return mask


def _neuron(network: Network, theta: Array, rng: np.random.Generator, outgoing: bool = True) -> Array:
    """1 at the parameters of one hidden neuron, else 0; outgoing: with the weights out of it."""
    mask = np.zeros(len(theta))
    layers = network.layers(mask)
    j = rng.integers(len(layers) - 1)
    n = rng.integers(len(layers[j][1]))
    layers[j][0][n], layers[j][1][n] = 1, 1
    if outgoing:
        layers[j + 1][0][:, n] = 1
    return mask


def descended(network: Network, theta: Array, steps: int, first: float) -> tuple[Array, float, Array]:
    """The point [Ñ], its L, and the inverse Hessian [Ñ, Ñ] after a descent by BFGS; first: the length of its first step."""
    value, g = network(theta)
    inverse = np.eye(len(theta)) * first / (np.linalg.norm(g) or 1.0)
    for _ in range(steps):
        d = -inverse @ g
        slope = d @ g
        found = _wolfe(network, theta, value, d, slope) if slope < 0 else None
        if found is None:
            break
        t, new, new_g = found
        s, change = t * d, new_g - g
        theta, value, g = theta + s, new, new_g
        if (sy := s @ change) > 0:
            v = inverse @ change
            inverse += (1 + change @ v / sy) / sy * np.outer(s, s) - (np.outer(v, s) + np.outer(s, v)) / sy
            if not np.isfinite(inverse).all():
                inverse = np.eye(len(theta))
                break
    return theta, value, (inverse + inverse.T) / 2


def _wolfe(
    network: Network, theta: Array, value: float, d: Array, slope: float
) -> tuple[float, float, Array] | None:
    """A step t along d that satisfies the weak Wolfe conditions, with L and ∇L there; None where there is none."""
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(50):
        new, new_g = network(theta + t * d)
        if not new <= value + 1e-4 * t * slope:
            high = t
        elif new_g @ d < 0.9 * slope:
            low = t
        else:
            return t, new, new_g
        t = 2 * low if high == np.inf else (low + high) / 2
    return None


def _along(network: Network, theta: Array, end: Array, value: float, length: float) -> tuple[Array, float]:
    """The lowest point of the line from theta through the end of a descent, up to `length` or to this end.

    Geometric distances, then golden section.
    """
    direction, golden = end - theta, (np.sqrt(5) - 1) / 2
    at = lambda t: network(theta + t * direction)[0]
    ts = np.r_[0.0, np.geomspace(1e-3, max(1.0, length / (np.linalg.norm(direction) or length)), 9)]
    values = [at(t) for t in ts]
    best = int(np.argmin(values))
    low, high = ts[max(best - 1, 0)], ts[min(best + 1, len(ts) - 1)]
    for _ in range(25):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if at(left) < at(right) else (left, high)
    middle = (low + high) / 2
    points = [(value, end), *((at(t), theta + t * direction) for t in (middle, ts[best]))]
    value, end = min(points, key=lambda pair: pair[0])
    return end, value


def states_apart(network: Network, run: Run, contact: float) -> list[str]:
    """What a run states of its end that is not so, measured anew: its loss, its counts, its state, its cusps."""
    info, theta = run.info, run.theta
    a, z = network.forward(theta)
    gaps = network.epsilon - network.y * z[-1]
    limit = contact * network.epsilon
    unsatisfied = gaps > limit
    own = {
        "n_unsatisfied": int(unsatisfied.sum()),
        "n_contacts": int((np.abs(gaps) <= limit).sum()),
    }
    found = [f"{name} {info[name]}, own {value}" for name, value in own.items() if info[name] != value]
    ends = [int((network.y * z[-1] < side * 1e-12 * network.epsilon).sum()) for side in (-1, 1)]
    if gaps.shape[1] == 1 and not ends[0] <= info["n_misclassified"] <= ends[1]:
        found.append(f"n_misclassified {info['n_misclassified']}, own {ends}")
    loss = float(network.exact(theta))
    if abs(info["final_loss"] - loss) > 1e-9 * loss + 1e-18 * network.epsilon**2:
        found.append(f"loss {info['final_loss']}, own {loss}")
    if (info["status"] == "satisfied") != (not unsatisfied.any()):
        found.append(f"status {info['status']}, own N_Δ {own['n_unsatisfied']}")
    dead = np.zeros(len(gaps), bool)
    for layer in z[:-1] if network.relu else []:
        dead |= (layer <= 0).all(1)
    if info["status"] == "dead" and not dead[unsatisfied.any(1)].all():
        found.append("status dead, and a pattern is not")
    if network.relu and info["certified"] and unsatisfied.any():
        n_cusps = _n_cusps(network, theta)
        if n_cusps != info["certificate"]["n_cusps"]:
            found.append(f"n_cusps {info['certificate']['n_cusps']}, own {n_cusps}")
    if info["status"] == "escaping" and info["limit_loss"] is not None:
        found += _escapes(network, run, unsatisfied.any(1))
    return found


def _n_cusps(network: Network, theta: Array) -> int:
    """The number of pre-activations at zero, of unsatisfied patterns, on which f depends."""
    sizes, z = _sizes(network, theta), network.forward(theta)[1]
    zero = {at for at, size, _ in sizes if size < KEPT_CUSP}

    def heard(layer: int, pattern: int) -> bool:
        above = range(layer + 1, len(z) - 1)
        return all(
            any(z[j][pattern, n] > 0 or (j, pattern, n) in zero for n in range(z[j].shape[1])) for j in above
        )

    return sum(heard(layer, pattern) for layer, pattern, _ in zero)


def _escapes(network: Network, run: Run, unsatisfied: Array) -> list[str]:
    """What is wrong with a run that is called escaping.

    As the saturated neurons grow, L of the unsatisfied patterns must fall to limit_loss.
    """
    theta, part = run.theta.copy(), Network.__new__(Network)
    part.__dict__.update(network.__dict__, x=network.x[unsatisfied], y=network.y[unsatisfied])
    saturated = [(1 - np.tanh(layer) ** 2 <= 1e-5).all(0) for layer in part.forward(theta)[1][:-1]]
    if not any(grows.any() for grows in saturated):
        return [] if run.info["escape"] else ["status escaping, and no neuron is saturated"]
    losses = [part.exact(theta)]
    for _ in range(4):
        for (w, b), grows in zip(part.layers(theta), saturated):
            w[grows] *= 2
            b[grows] *= 2
        losses.append(part.exact(theta))
    found, limit = [], run.info["limit_loss"]
    # a run whose trace shows the escape may have saturated neurons that do not lower L by themselves
    if run.info["escape"] is None and losses[-1] > losses[0] * (1 + 1e-13):
        found.append(f"escaping, but L rises: {[float(value / losses[0] - 1) for value in losses]}")
    if abs(float(losses[-1]) - limit) > 1e-9 * limit:
        found.append(f"limit_loss {limit}, own {float(losses[-1])}")
    return found
