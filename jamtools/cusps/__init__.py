"""Where ReLU has a kink: the number of cusps N_c, pre-activations, the smallest subgradient."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.cusps.counting import CuspCount as CuspCount
    from jamtools.cusps.counting import LayerCount as LayerCount
    from jamtools.cusps.counting import count as count
    from jamtools.cusps.preactivations import Profile as Profile
    from jamtools.cusps.preactivations import fresh_patterns as fresh_patterns
    from jamtools.cusps.preactivations import profile as profile
    from jamtools.cusps.subgradient import CuspGradient as CuspGradient
    from jamtools.cusps.subgradient import SmallestSubgradient as SmallestSubgradient
    from jamtools.cusps.subgradient import smallest_subgradient as smallest_subgradient

_OWNERS = {
    "CuspCount": "counting",
    "LayerCount": "counting",
    "count": "counting",
    "Profile": "preactivations",
    "fresh_patterns": "preactivations",
    "profile": "preactivations",
    "CuspGradient": "subgradient",
    "SmallestSubgradient": "subgradient",
    "smallest_subgradient": "subgradient",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
