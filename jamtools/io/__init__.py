"""Reading and writing of files: artefacts, raw data, checkpoints and journals."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.io.artefact import Artefact as Artefact
    from jamtools.io.artefact import open_any as open_any
    from jamtools.io.checkpoint import Checkpoint as Checkpoint
    from jamtools.io.download import download_mnist as download_mnist
    from jamtools.io.idx import read_images as read_images
    from jamtools.io.journal import Journal as Journal
    from jamtools.io.read import read_dataset as read_dataset
    from jamtools.io.read import read_ensemble as read_ensemble
    from jamtools.io.read import read_numbers as read_numbers
    from jamtools.io.read import read_runs as read_runs
    from jamtools.io.read import read_spectra as read_spectra
    from jamtools.io.streams import write_file as write_file
    from jamtools.io.user_arrays import read_arrays as read_arrays
    from jamtools.io.write import dataset_bytes as dataset_bytes
    from jamtools.io.write import runs_bytes as runs_bytes
    from jamtools.io.write import spectra_bytes as spectra_bytes

_OWNERS = {
    "Artefact": "artefact",
    "Checkpoint": "checkpoint",
    "Journal": "journal",
    "dataset_bytes": "write",
    "download_mnist": "download",
    "open_any": "artefact",
    "read_arrays": "user_arrays",
    "read_dataset": "read",
    "read_ensemble": "read",
    "read_images": "idx",
    "read_numbers": "read",
    "read_runs": "read",
    "read_spectra": "read",
    "runs_bytes": "write",
    "spectra_bytes": "write",
    "write_file": "streams",
}

__all__ = list(_OWNERS)
__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
