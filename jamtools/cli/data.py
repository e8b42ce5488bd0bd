"""jam-data: a dataset, from random numbers, from images or from the user's own arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import Seed, Version, integer_option
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import integer, natural

if TYPE_CHECKING:
    from jamtools.records import Dataset

NAME = "jam-data"
HELP = """Make a dataset: patterns x_µ in R^d with labels y_µ = ±1.

\b
Examples:
  jam-data random -P 1000 -d 25 --seed 0 > random.safetensors
  jam-data images mnist --labels parity --pca 10 -P 10k -o mnist.safetensors
  jam-data arrays X.npy Y.npy | jam-train --width 10 --depth 3 > runs.safetensors
"""
app = new_app(help=HELP)


@app.callback()
def group(version: Version = False) -> None:
    """Options of jam-data itself, before its subcommands."""


def image_labels(text: str) -> str:
    """parity, threshold:K or classes."""
    rule, _, number = text.partition(":")
    if text in ("parity", "classes"):
        return text
    if rule == "threshold" and number:
        return f"threshold:{integer(number)}"
    raise typer.BadParameter(f"got {text!r}, expected parity, threshold:K or classes")


def array_labels(text: str) -> str:
    """signs, parity, threshold:K or classes."""
    return text if text == "signs" else image_labels(text)


def _labels_option(parser: Callable[[str], str], help: str) -> Any:
    return typer.Option("--labels", parser=parser, metavar="RULE", help=help)


@app.command()
@grouped
def random(
    *,
    patterns: Annotated[int, integer_option("--patterns", "-P", metavar="P", help="Number of patterns.")],
    dimension: Annotated[
        int, integer_option("--dimension", "-d", metavar="D", help="Dimension of a pattern.")
    ],
    seed: Seed = 0,
    gaussian: Annotated[
        bool,
        typer.Option("--gaussian", help="Independent components N(0, 1), instead of points on the sphere."),
    ] = False,
    labels: Annotated[
        Literal["random", "balanced"],
        typer.Option(
            "--labels", help="random: ±1 with equal probability; balanced: +1 and -1 in turn, equally often."
        ),
    ] = "random",
    test: Annotated[
        int,
        integer_option(
            "--test", parser=natural, metavar="P", help="Number of test patterns, from the same source."
        ),
    ] = 0,
    streams: Streams,
) -> None:
    """Make random patterns on the sphere of radius √d, or Gaussian ones.

    Their density on the sphere is uniform, and their labels are random. With --gaussian the components are
    independent, N(0, 1), as for the perceptron. A dataset of smaller P holds the first rows of a larger one with the
    same seed. The test set does not depend on P.

    \b
    Examples:
      jam-data random -P 1000 -d 25 --seed 0 > random.safetensors
      jam-data random -P 10k -d 50 --labels balanced --test 1000 -o random.safetensors
      jam-data random --gaussian -P 600 -d 100 | jam-train --depth 0 --no-bias -o perceptron.safetensors
    """
    session = Session(NAME, streams, binary=True)
    from jamtools.data.sphere import random_gaussian, random_sphere

    make = random_gaussian if gaussian else random_sphere
    _write(session, make(patterns, dimension, seed, labels, test))


@dataclass(frozen=True)
class Preprocessing:
    """How patterns and labels are made from the pixels and the classes of images."""

    labels: Annotated[
        str,
        _labels_option(
            image_labels,
            "parity: odd +1, even -1; threshold:K: K and above +1; classes: one output for each.",
        ),
    ] = "parity"
    pca: Annotated[
        int | None,
        integer_option(
            "--pca", metavar="K", help="Keep the first K principal components (default: all pixels)."
        ),
    ] = None
    whiten: Annotated[
        bool | None,
        typer.Option(
            "--whiten/--no-whiten",
            help="Divide components by their standard deviation (default with --pca).",
        ),
    ] = None
    sphere: Annotated[
        bool, typer.Option("--sphere/--no-sphere", help="Scale patterns to the sphere of radius √d.")
    ] = True


@app.command()
@grouped
def images(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder with four IDX files, such as those of MNIST.")
    ],
    *,
    preprocessing: Preprocessing,
    patterns: Annotated[
        int | None,
        integer_option(
            "--patterns", "-P", metavar="P",
            help="Draw P of all images, equally many of each class; the rest is the test set (default: the files' split).",
        ),
    ] = None,
    test: Annotated[
        int | None,
        integer_option(
            "--test", parser=natural, metavar="P", help="Keep this many test patterns (default: all)."
        ),
    ] = None,
    seed: Seed = 0,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch the files of MNIST that DIR lacks; checksums are verified."),
    ] = False,
    streams: Streams,
) -> None:  # fmt: skip
    """Read images: MNIST, Fashion-MNIST and others in their format.

    DIR holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
    t10k-labels-idx1-ubyte, gzipped or not. Pixels are scaled to [0, 1] and centred; the centre and the principal
    components are those of all images, training and test. The default, --whiten --sphere, follows the
    program of the paper's authors; --no-whiten --no-sphere follows the text of the paper.

    \b
    Examples:
      jam-data images mnist --labels parity --pca 10 -P 10k -o mnist.safetensors
      jam-data images mnist --download --labels threshold:5 --no-sphere > mnist.safetensors
    """
    pca, whiten = preprocessing.pca, preprocessing.whiten
    if whiten and pca is None:
        raise typer.BadParameter("--whiten works on principal components, expected --pca K with it")
    session = Session(NAME, streams, binary=True)
    from jamtools.data.images import Recipe, image_dataset
    from jamtools.io.download import download_mnist
    from jamtools.io.idx import read_images

    if download:
        for name in download_mnist(folder):
            session.note(f"fetched {name}")
    recipe = Recipe(preprocessing.labels, pca, pca is not None and whiten is not False, preprocessing.sphere)
    dataset = image_dataset(read_images(folder), recipe, patterns, seed, test)
    _note_imbalance(session, dataset, patterns)
    _write(session, dataset)


@app.command()
@grouped
def arrays(
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="X.npy Y.npy, or one .npz, .csv or .safetensors.")
    ],
    *,
    test_arrays: Annotated[
        list[str] | None,
        typer.Option(
            "--test-arrays",
            metavar="FILE",
            help="A test set in the same form; give the option twice for two files.",
        ),
    ] = None,
    labels: Annotated[
        str,
        _labels_option(
            array_labels, "signs: ±1, unchanged; parity: 0 and 1 become -1 and +1; threshold:K; classes."
        ),
    ] = "signs",
    streams: Streams,
) -> None:
    """Read your own arrays: NumPy, CSV, safetensors.

    x is [P, d]; y is [P] of ±1, or [P, C] with one +1 in each row. Two files hold x and y (.npy or .csv). One
    file holds both: .npz and .safetensors under the names x, y, x_test, y_test; .csv with the label in the
    last column. Integers and other floats become float64.

    \b
    Examples:
      jam-data arrays X.npy Y.npy -o mine.safetensors
      jam-data arrays table.csv --labels parity --test-arrays table_test.csv > mine.safetensors
    """
    for names in (files, test_arrays or []):
        if len(names) > 2:
            raise typer.BadParameter(f"got {len(names)} files, expected one, or two: x and y")
    session = Session(NAME, streams, binary=True)
    from jamtools.data.arrays import array_dataset
    from jamtools.io.user_arrays import read_arrays

    _write(session, array_dataset(read_arrays(files, test_arrays or []), labels))


def _note_imbalance(session: Session, dataset: Dataset, P: int | None) -> None:
    """Prints a note when -P asked for more patterns than balanced classes allow."""
    from jamtools.data.labels import class_counts

    counts = class_counts(dataset.y)
    if P is not None and max(counts) - min(counts) > 1:
        sizes = " and ".join(map(str, counts))
        session.note(f"-P {P} is more than balanced classes allow; took what there is, classes of {sizes}")


def _write(session: Session, dataset: Dataset) -> None:
    from jamtools.io.write import dataset_bytes

    session.write(dataset_bytes(dataset, session.provenance()))


def main() -> None:
    """The process jam-data, whose linear algebra has one thread unless OMP_NUM_THREADS asks for more.

    The bytes then do not depend on the number of cores. It is also faster where other programs keep the cores busy: the
    eigenvectors of 784 pixels take 0.2 s with one thread, and seconds with two threads that wait for each other.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before numpy is imported
    run(app, NAME)


if __name__ == "__main__":
    main()
