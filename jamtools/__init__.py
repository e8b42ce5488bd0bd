"""jamtools: the jamming transition of neural networks, from a dataset to the exponents.

`import jamtools` costs nothing: the public names are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.errors import JamError as JamError
    from jamtools.exponents.distributions import fit_distributions as fit_distributions
    from jamtools.hessian.assembly import Hessian as Hessian
    from jamtools.hessian.exact import exact_spectrum as exact_spectrum
    from jamtools.hessian.matrix_free import estimate_density as estimate_density
    from jamtools.io.read import read_dataset as read_dataset
    from jamtools.io.read import read_runs as read_runs
    from jamtools.io.read import read_spectra as read_spectra
    from jamtools.minima.certificate import certify as certify
    from jamtools.minima.verification import verify as verify
    from jamtools.network.architecture import Architecture as Architecture
    from jamtools.network.loss import Loss as Loss
    from jamtools.protocols import Settings as Settings
    from jamtools.protocols import TrainingOptions as TrainingOptions
    from jamtools.records import Dataset as Dataset
    from jamtools.records import Run as Run
    from jamtools.records import Runs as Runs
    from jamtools.records import Spectrum as Spectrum
    from jamtools.training.ensemble import train as train

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_OWNERS = {
    "JamError": "errors",
    "Dataset": "records",
    "Run": "records",
    "Runs": "records",
    "Spectrum": "records",
    "Architecture": "network.architecture",
    "Loss": "network.loss",
    "Settings": "protocols",
    "TrainingOptions": "protocols",
    "train": "training.ensemble",
    "Hessian": "hessian.assembly",
    "exact_spectrum": "hessian.exact",
    "estimate_density": "hessian.matrix_free",
    "certify": "minima.certificate",
    "verify": "minima.verification",
    "fit_distributions": "exponents.distributions",
    "read_dataset": "io.read",
    "read_runs": "io.read",
    "read_spectra": "io.read",
}

__all__ = ["__version__", *sorted(_OWNERS)]

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
