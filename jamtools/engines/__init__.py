"""Engines: how the steps of a training are computed fast, by torch, by the compiled kernel or in batches of runs."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.engines.base import Engine as Engine
    from jamtools.engines.batch.engine import BatchEngine as BatchEngine
    from jamtools.engines.compiled_engine import CompiledEngine as CompiledEngine
    from jamtools.engines.optimizers import FIRE as FIRE
    from jamtools.engines.optimizers import SGD as SGD
    from jamtools.engines.optimizers import Adam as Adam
    from jamtools.engines.optimizers import Optimizer as Optimizer
    from jamtools.engines.torch_engine import TorchEngine as TorchEngine

_OWNERS = {
    "Engine": "base",
    "BatchEngine": "batch.engine",
    "CompiledEngine": "compiled_engine",
    "FIRE": "optimizers",
    "SGD": "optimizers",
    "Adam": "optimizers",
    "Optimizer": "optimizers",
    "TorchEngine": "torch_engine",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
