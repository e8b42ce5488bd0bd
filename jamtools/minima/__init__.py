"""Finding a minimum of the loss, and proving that it is one."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.minima.certificate import Certificate as Certificate
    from jamtools.minima.certificate import certify as certify
    from jamtools.minima.cusp_manifold import CuspManifold as CuspManifold
    from jamtools.minima.cusp_newton import Polished as Polished
    from jamtools.minima.cusp_newton import polish as polish
    from jamtools.minima.newton import NewtonEngine as NewtonEngine
    from jamtools.minima.second_order import Lagrangian as Lagrangian
    from jamtools.minima.second_order import lagrangian as lagrangian
    from jamtools.minima.verification import Verification as Verification
    from jamtools.minima.verification import verify as verify

_OWNERS = {
    "Certificate": "certificate",
    "certify": "certificate",
    "CuspManifold": "cusp_manifold",
    "Polished": "cusp_newton",
    "polish": "cusp_newton",
    "NewtonEngine": "newton",
    "Lagrangian": "second_order",
    "lagrangian": "second_order",
    "Verification": "verification",
    "verify": "verification",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
