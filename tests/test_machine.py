"""Free memory: control groups of both versions, and limits."""

from __future__ import annotations

import pytest
import torch

from jamtools import machine
from jamtools.errors import InputError, Remedy
from jamtools.machine import available, available_cores, check_memory

CPU = torch.device("cpu")


def make_control_groups(tmp_path, monkeypatch, files):
    """Makes `files`, text by path, the control groups of this process."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(machine, "_free_in_machine", lambda: 10**12)


def test_the_tightest_control_group_limits_the_free_memory(tmp_path, monkeypatch):
    """Version 2. The limit is the one of the group above; the kernel can drop pages of inactive files."""
    files = {
        "job/step/memory.max": "max\n",
        "job/step/memory.current": "700\n",
        "job/memory.max": "5000\n",
        "job/memory.current": "1000\n",
        "job/memory.stat": "anon 700\ninactive_file 200\n",
    }
    make_control_groups(tmp_path, monkeypatch, files)
    monkeypatch.setattr(machine, "CGROUPS_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    assert available(CPU) == 5000 - 1000 + 200


def test_a_control_group_of_version_1_limits_the_free_memory(tmp_path, monkeypatch):
    files = {"memory/job/memory.limit_in_bytes": "5000\n", "memory/job/memory.usage_in_bytes": "1000\n"}
    make_control_groups(tmp_path, monkeypatch, files)
    monkeypatch.setattr(machine, "CGROUPS_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("5:cpu,cpuacct:/elsewhere\n4:memory:/job\n")
    assert available(CPU) == 4000


def test_this_machine_has_free_memory():
    assert 2**20 < available(CPU) < 2**50


def test_memory_that_is_not_free_is_refused_with_its_remedy(monkeypatch):
    monkeypatch.setattr(machine, "available", lambda device: 2**30)
    check_memory(2**30, CPU, None, "matrices", Remedy.LANCZOS_OR_MORE_MEMORY)
    with pytest.raises(InputError, match="matrices need 2 GiB, got 1 GiB available in memory; ") as refused:
        check_memory(2**31, CPU, None, "matrices", Remedy.LANCZOS_OR_MORE_MEMORY)
    assert refused.value.remedy is Remedy.LANCZOS_OR_MORE_MEMORY


def test_a_limit_below_the_free_memory_takes_its_place(monkeypatch):
    monkeypatch.setattr(machine, "available", lambda device: 2**40)
    check_memory(2**30, CPU, 2**30, "matrices", Remedy.LANCZOS_OR_MORE_MEMORY)
    with pytest.raises(InputError, match="need 2 GiB, got 1 GiB allowed; "):
        check_memory(2**31, CPU, 2**30, "matrices", Remedy.LANCZOS_OR_MORE_MEMORY)


def test_a_process_without_control_groups_has_the_free_memory_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUPS_OF_PROCESS", tmp_path / "missing")
    monkeypatch.setattr(machine, "_free_in_machine", lambda: 12345)
    assert available(CPU) == 12345


def test_a_process_may_use_at_least_one_core():
    assert available_cores() >= 1
