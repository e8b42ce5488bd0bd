"""Lazy public names of a package: each is imported from its module when it is first used.

The `__init__.py` of a package lists the public names, and imports no module before one of them is used:

    if TYPE_CHECKING:  # what editors and type checkers read
        from jamtools.data.sphere import random_sphere as random_sphere

    _OWNERS = {"random_sphere": "sphere"}  # what Python reads

    __all__ = list(_OWNERS)
    __getattr__, __dir__ = lazy_names(__name__, _OWNERS)

A public name must differ from the names of all modules and sub-packages of its package. Importing a module sets an
attribute with the name of the module, which would hide a public name that is equal to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, owners: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the package named `package`.

    owners: each public name -> the module that defines it, relative to the package ("sphere", "network.loss").
    The returned `__getattr__` raises AttributeError for a name that is not in `owners`.
    """

    def load(name: str) -> Any:
        if name not in owners:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{owners[name]}"), name)
        setattr(sys.modules[package], name, value)  # from now on Python finds it without this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *owners})

    return load, names
