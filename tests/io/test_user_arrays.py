"""Array files that are written by numpy are read back."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jamtools.errors import InputError, Remedy
from jamtools.io.user_arrays import read_arrays

X = np.arange(6, dtype=np.float32).reshape(3, 2) / 4
Y = np.array([1, -1, 1])


def write_csv(path: Path, *columns: np.ndarray, header: str = "") -> None:
    rows = np.column_stack(columns).tolist()
    path.write_text(header + "".join(",".join(map(repr, row)) + "\n" for row in rows))


def write_arrays(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "X.npy", X)
    np.save(folder / "Y.npy", Y)
    np.savez(folder / "both.npz", x=X, y=Y, other=np.ones(7))
    np.savez_compressed(folder / "all.npz", x=X, y=Y, x_test=X[:2], y_test=Y[:2])
    save_file({"x": X, "y": Y}, folder / "both.safetensors")
    write_csv(folder / "both.csv", X, Y)
    write_csv(folder / "named.csv", X, Y, header="\ufeff length,width,label\n\n")
    write_csv(folder / "X.csv", X, header="length,width\n")
    write_csv(folder / "Y.csv", Y)


@pytest.mark.parametrize(
    "names",
    ["X.npy Y.npy", "both.npz", "all.npz", "both.safetensors", "both.csv", "named.csv", "X.csv Y.csv", "X.npy Y.csv"],
)  # fmt: skip
def test_the_arrays_of_every_format_are_those_that_were_written(tmp_path: Path, names: str) -> None:
    write_arrays(tmp_path)
    arrays = read_arrays([str(tmp_path / name) for name in names.split()])
    assert np.array_equal(arrays["x"], X)
    assert np.array_equal(np.ravel(arrays["y"]), Y)
    assert sorted(arrays) == (["x", "x_test", "y", "y_test"] if names == "all.npz" else ["x", "y"])


def test_a_test_set_is_read_from_every_format(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    files = [str(tmp_path / name) for name in ("X.npy", "Y.npy")]
    for test in (files, [str(tmp_path / "both.csv")], [str(tmp_path / "all.npz")]):
        arrays = read_arrays(files, test)
        assert np.array_equal(arrays["x_test"], X) and np.array_equal(np.ravel(arrays["y_test"]), Y)


def test_a_second_test_set_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    with pytest.raises(InputError, match="holds a test set already") as caught:
        read_arrays([str(tmp_path / "all.npz")], [str(tmp_path / name) for name in ("X.npy", "Y.npy")])
    assert caught.value.remedy == Remedy.ONE_TEST_SET


class Trap:
    """An object whose pickle sets `loaded` when it is loaded."""

    loaded = False

    def __reduce__(self) -> tuple:
        return setattr, (Trap, "loaded", True)


def save(path: Path, **arrays: np.ndarray) -> None:
    """Writes an .npz archive; for a name with another suffix, writes only the last array."""
    with open(path, "wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=True, **arrays)
        else:
            np.save(file, list(arrays.values())[-1], allow_pickle=True)


def damage_file(path: Path, damage: str) -> None:
    """Replaces a file by one whose content does not fit its name."""
    table = {
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("hello\n"),
        "cut": lambda: path.write_bytes(path.read_bytes()[:-5]),
        "pickle": lambda: save(path, x=X, y=np.array([Trap()], dtype=object)),
        "no y": lambda: save(path, x=X),
        "gone": path.unlink,
        "folder": lambda: (path.unlink(), path.mkdir()),
        "ragged": lambda: path.write_text("1,2,1\n3,-1\n"),
        "words": lambda: path.write_text("1,2,1\n3,four,-1\n"),
        "words at once": lambda: path.write_text("1,two,1\n3,4,-1\n"),
        "header alone": lambda: path.write_text("a,b\n"),
        "one column": lambda: path.write_text("1\n-1\n"),
        "no text": lambda: path.write_bytes(b"\xff\xfe\x00\x01"),
    }
    table[damage]()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[("X.npy", damage) for damage in ("empty", "text", "cut", "pickle", "gone", "folder")],
        *[("both.npz", damage) for damage in ("empty", "text", "cut", "pickle", "no y", "gone")],
        *[("both.safetensors", damage) for damage in ("empty", "text", "cut", "gone", "folder")],
        *[("both.csv", damage) for damage in ("empty", "ragged", "words", "words at once", "header alone")],
        *[("both.csv", damage) for damage in ("one column", "no text", "gone")],
    ],
)
def test_a_damaged_array_file_is_refused_with_its_name_and_no_pickle_is_loaded(
    tmp_path: Path, name: str, damage: str
) -> None:
    write_arrays(tmp_path)
    path = tmp_path / name
    damage_file(path, damage)
    files = [str(path), str(tmp_path / "Y.npy")] if path.suffix == ".npy" else [str(path)]
    with pytest.raises(InputError, match=f"{name}: .*; "):
        read_arrays(files)
    assert not Trap.loaded


@pytest.mark.parametrize(
    ("names", "message"),
    [("X.npy", "one array, expected two files"), ("X.txt", "unknown format"), ("both.npz Y.npy", "expected .npy or .csv")],
)  # fmt: skip
def test_array_files_of_other_formats_are_refused(tmp_path: Path, names: str, message: str) -> None:
    write_arrays(tmp_path)
    with pytest.raises(InputError, match=message):
        read_arrays([str(tmp_path / name) for name in names.split()])
