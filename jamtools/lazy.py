"""Public names of a package that are imported from their modules when they are first used.

A package's `__init__.py` lists its public names and costs nothing to import:

    if TYPE_CHECKING:  # what editors and type checkers read
        from jamtools.data.sphere import random_sphere as random_sphere

    _OWNERS = {"random_sphere": "sphere"}  # what Python reads

    __all__ = list(_OWNERS)
    __getattr__, __dir__ = lazy_names(__name__, _OWNERS)

A public name must differ from the name of every module and sub-package of its package: importing such a module sets
an attribute of the same name, which would hide the public name.
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
