"""Prints P*/N of perceptrons at each margin, as jam-nstar fit combined it, next to Gardner's capacity.

α(κ) = 1 / ∫_{-κ}^∞ Dt (t + κ)² = 1 / ((1 + κ²) H(-κ) + κ exp(-κ²/2)/√(2π)). It is exact for κ ≥ 0 as N → ∞, and an
upper bound for κ < 0. At κ = 0 the mean of P* is 2 d at any d, and N = d - 1 (T. M. Cover 1965). Source: E. Gardner,
J. Phys. A 21, 257 (1988). It needs the standard library alone, as a script of your own could do.
"""

import json
import math
import sys


def capacity(kappa):
    """Returns Gardner's capacity P/N at margin kappa."""
    density = math.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)
    return 1 / ((1 + kappa**2) * 0.5 * math.erfc(-kappa / math.sqrt(2)) + kappa * density)


print(f"{'margin':>7} {'datasets':>9} {'P*/N':>7} {'from':>7} {'to':>7} {'Gardner':>8}")
for path in sys.argv[1:]:
    with open(path) as file:
        for fit in map(json.loads, file):
            low, high = fit["P_over_N_interval"]
            kappa = 0.5 if fit.get("epsilon") is None else fit["epsilon"]
            row = f"{kappa:7.3g} {fit['n_points']:9} {fit['P_over_N']:7.3f} {low:7.3f} {high:7.3f}"
            print(f"{row} {capacity(kappa):8.3f}")
