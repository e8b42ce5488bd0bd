"""The constants of Adam and FIRE, as their papers give them. Several engines share them.

1 - β₁ and 1 - β₂ are separate constants, because 1 - 0.9 in float64 differs from 0.1.

Sources: Kingma and Ba, arXiv:1412.6980; Bitzek, Koskinen, Gähler, Moseler and Gumbsch, PRL 97, 170201 (2006).
"""

from __future__ import annotations

#: Decay per step of Adam's averages of the gradient (β₁) and of its square (β₂).
ADAM_BETA1, ADAM_BETA2 = 0.9, 0.999

#: 1 - β₁ and 1 - β₂, the weights of the newest gradient.
ADAM_GAIN1, ADAM_GAIN2 = 0.1, 0.001

#: Added to √v̂, in units of the gradient; the value of Adam's authors and of arXiv:1809.09349.
ADAM_EPSILON = 1e-8

#: FIRE's step grows after more than this many steps downhill in a row.
FIRE_MIN_DOWNHILL_STEPS = 5

#: Factors of FIRE's step Δt after more than FIRE_MIN_DOWNHILL_STEPS steps downhill, and after a step uphill.
FIRE_GROWTH, FIRE_SHRINK = 1.1, 0.5

#: FIRE's mixing α of speed and force: its initial value, and its factor in a step in which Δt grows.
FIRE_ALPHA, FIRE_ALPHA_SHRINK = 0.1, 0.99

#: The largest Δt of FIRE, in units of the learning rate η.
FIRE_MAX_PACE = 10.0

#: Placeholder for the largest Δ in a step that does not compute it. This value counts neither as satisfied nor as diverged.
UNKNOWN_GAP = 1.0
