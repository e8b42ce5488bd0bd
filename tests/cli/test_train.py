"""jam-train: its messages about memory and precision."""

from __future__ import annotations

import re
import sys

import pytest

from jamtools.cli.common.app import run as run_command
from jamtools.training import memory
from tests.support import oracle


def test_jam_train_refuses_a_run_that_does_not_fit_in_one_line(tmp_path, monkeypatch, capsys):
    from jamtools.cli import train
    from jamtools.io.write import dataset_bytes

    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(300, 5), []))
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(sys, "argv", ["jam-train", str(path), "--device", "cpu", "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        run_command(train.app, train.NAME)
    assert left.value.code == 1
    assert re.fullmatch(
        r"jam-train: P=300 .* needs .* GiB, got .* GiB available in memory; .*\n", capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_jam_train_notes_that_float32_is_coarse(tmp_path, monkeypatch, capsys):
    from jamtools.cli import train
    from jamtools.io.write import dataset_bytes

    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(30, 5), []))
    line = ["jam-train", str(path), "--device", "cpu", "--dtype", "float32", "--steps", "5", "-o", "out"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_command(train.app, train.NAME)
    assert "near the transition" in capsys.readouterr().err
