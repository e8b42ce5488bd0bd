"""jamtools: the jamming transition of neural networks, from a dataset to the exponents.

`import jamtools` costs nothing: the public names are loaded when they are first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Public name -> the module that owns it.
_OWNERS = {
    "JamError": "errors",
    "Dataset": "records",
    "Run": "records",
    "Runs": "records",
    "Spectrum": "records",
    "Architecture": "network.architecture",
    "Loss": "network.loss",
    "Settings": "protocols",
    "train": "training.ensemble",
    "Hessian": "hessian.assembly",
    "spectrum_of": "hessian.exact",
    "estimate": "hessian.matrix_free",
    "certify": "minima.certificate",
    "verify": "minima.verification",
    "distributions": "exponents.distributions",
    "read_dataset": "io.read",
    "read_runs": "io.read",
    "read_spectra": "io.read",
}

__all__ = ["__version__", *sorted(_OWNERS)]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OWNERS[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
