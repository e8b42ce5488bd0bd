"""Patterns and labels: random points on a sphere, images, and the user's own arrays."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.data.arrays import array_dataset as array_dataset
    from jamtools.data.images import Images as Images
    from jamtools.data.images import Recipe as Recipe
    from jamtools.data.images import image_dataset as image_dataset
    from jamtools.data.labels import balanced_order as balanced_order
    from jamtools.data.labels import encode_labels as encode_labels
    from jamtools.data.sphere import random_gaussian as random_gaussian
    from jamtools.data.sphere import random_sphere as random_sphere

_OWNERS = {
    "array_dataset": "arrays",
    "Images": "images",
    "Recipe": "images",
    "image_dataset": "images",
    "balanced_order": "labels",
    "encode_labels": "labels",
    "random_gaussian": "sphere",
    "random_sphere": "sphere",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
