"""The numbers that summarise the spectra of H, H0 and Hp of a run.

    gap at the cut of H0     λ_{first above the zeros} / max |λ_zero|
    symmetry of Hp           D = sup_x |F_{λ>0}(x) - F_{-λ>0}(x)|,   m_k = tr Hp^k / √(tr Hp^{k-1} tr Hp^{k+1}),  k = 3, 5
    scale of Hp              √(tr Hp² / Ñ) / √L

D and m_k do not depend on the scale of Hp, and both vanish for a symmetric spectrum; |m_k| ≤ 1 by Cauchy and Schwarz. At
fixed norm these three are those of P Hp P, without the μ that the spectrum of Hp has there; Ñ is then Ñ - 1.

Source: arXiv:1809.09349, section III and appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from jamtools.linalg.eigenvalues import Eigenvalues
from jamtools.linalg.inertia import Inertia
from jamtools.records import Array, n_directions

#: Fields that follow from the spectrum of H0, some of them from its signs alone; None without these.
H0_FIELDS = (
    "n_zero_H0", "rank_H0", "gap_H0", "relative_gap_H0", "delta_weight_H0", "largest_H0",
)  # fmt: skip

#: Fields that follow from the spectrum of Hp; None without it.
HP_FIELDS = ("asymmetry_Hp", "odd_moment_3_Hp", "odd_moment_5_Hp", "scale_Hp")


def summarise(
    spectra: Mapping[str, Eigenvalues],
    signs: Mapping[str, Inertia],
    n_negative: Mapping[str, int],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """All fields; None where their part is missing. n_negative: of H and Hp, with the scale generators projected out."""
    N = run["n_effective_expected"]
    negative_Hp = n_negative.get("Hp")
    return {
        "n_symmetries": n_directions(run) - N,
        "unsatisfied_per_parameter": run["n_unsatisfied"] / N,
        **_of_H0(spectra.get("H0"), signs.get("H0"), run),
        "n_negative_H": n_negative.get("H"),
        "n_negative_Hp": negative_Hp,
        "c0": None if negative_Hp is None else negative_Hp / N,
        **_of_Hp(spectra.get("Hp"), run),
        **{
            f"n_{sign}_{part}": getattr(inertia, f"n_{sign}")
            for part, inertia in signs.items()
            for sign in ("zero", "positive")
        },
        **{f"{what}_error": _worst(spectra, what) for what in ("trace", "frobenius")},
    }


def _worst(spectra: Mapping[str, Eigenvalues], error: str) -> float | None:
    return max((getattr(e, f"{error}_error") for e in spectra.values()), default=None)


def _of_H0(spectrum: Eigenvalues | None, signs: Inertia | None, run: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(H0_FIELDS)
    n, N = n_directions(run), run["n_effective_expected"]
    n_zero = spectrum.n_zero if spectrum else signs.n_zero if signs else None
    if n_zero is not None:
        fields |= {"n_zero_H0": n_zero, "rank_H0": n - n_zero, "delta_weight_H0": (N - (n - n_zero)) / N}
    if spectrum:
        fields |= {
            "gap_H0": spectrum.smallest_positive,
            "relative_gap_H0": _relative_gap(spectrum.values, n_zero or 0),
        }
        fields["largest_H0"] = spectrum.values[-1].item()
    return fields


def _relative_gap(values: Tensor, n_zero: int) -> float | None:
    """The smallest |λ| that is not zero over the largest that counts as zero; values [Ñ]; None where either is missing."""
    if n_zero in (0, len(values)):
        return None
    size = values.abs().sort().values
    zero = size[n_zero - 1].item()
    return size[n_zero].item() / zero if zero > 0 else None


def _of_Hp(spectrum: Eigenvalues | None, run: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(HP_FIELDS)
    if spectrum is None or not bool(spectrum.values.any()):
        return fields
    mu = run.get("norm_multiplier") or 0.0
    values = spectrum.values.double().cpu().numpy() - mu
    largest = np.abs(values).max()
    if mu and largest <= spectrum.tolerance:  # Hp = 0, as for a perceptron
        return fields
    fields["asymmetry_Hp"] = asymmetry(values, spectrum.tolerance)
    fields["odd_moment_3_Hp"], fields["odd_moment_5_Hp"] = (odd_moment(values / largest, k) for k in (3, 5))
    if run["final_loss"] > 0:
        fields["scale_Hp"] = float(
            largest * math.sqrt(np.mean((values / largest) ** 2)) / math.sqrt(run["final_loss"])
        )
    return fields


def asymmetry(values: Array, tolerance: float) -> float | None:
    """D, the Kolmogorov–Smirnov distance of the positive values [n] from the negative ones; None where a side is empty."""
    up, down = np.sort(values[values > tolerance]), np.sort(-values[values < -tolerance])
    if not len(up) or not len(down):
        return None
    at = np.concatenate([up, down])
    shares = [np.searchsorted(side, at, side="right") / len(side) for side in (up, down)]
    return float(np.abs(shares[0] - shares[1]).max())


def odd_moment(values: Array, k: int) -> float:
    """m_k from -1 to 1: the odd moment k of the values [n], divided by the geometric mean of its even neighbours."""
    lower, middle, upper = (float(np.sum(values**power)) for power in (k - 1, k, k + 1))
    return middle / math.sqrt(lower * upper)
