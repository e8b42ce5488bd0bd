"""jam: the list of all commands, and their completion by the shell."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.contract import complaint, contents, typed

COMMANDS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose startup file of bash has no newline at its end."""
    (tmp_path / ".bashrc").write_text("alias jump='cd ..'")
    return tmp_path


def test_every_entry_point_is_listed_with_its_purpose(tmp_path: Path) -> None:
    done = typed("jam", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    listed = dict(line.split(maxsplit=1) for line in done.stdout.decode().splitlines())
    assert list(listed) == COMMANDS and all(listed.values())


def test_bash_completes_the_options_of_all_commands_after_one_installation(home: Path) -> None:
    done = typed("jam --install-completion --shell bash", home, env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    told = [line.split()[1] for line in done.stdout.decode().splitlines() if line.startswith("wrote ")]
    assert told == [f"{home}/.bash_completions/jam.sh", f"{home}/.bashrc"]
    tried = {"jam": "--install-c", "jam-train": "--protoc", "jam-nstar": "sear", "jam-show": "--arrays"}
    script = "\n".join(
        f"COMP_WORDS=({command} {word}) COMP_CWORD=1; _{command.replace('-', '_')}_completion {command}; "
        'echo "${COMPREPLY[@]}"'
        for command, word in tried.items()
    )
    answers = typed(f"source .bashrc\n{script}", home).stdout.decode().splitlines()
    assert answers == ["--install-completion", "--protocol", "search", "--arrays"]
    declared = typed("source .bashrc\ncomplete -p", home).stdout.decode()
    assert all(f" {command}\n" in declared for command in COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_second_installation_changes_no_byte(shell: str, home: Path) -> None:
    states = []
    for _ in range(2):
        done = typed("jam --install-completion", home, env={"HOME": str(home), "SHELL": f"/bin/{shell}"})
        assert done.returncode == 0, done.stderr
        files = [Path(line.split()[1]) for line in done.stdout.decode().splitlines()[:-1]]
        states.append({path: path.read_bytes() for path in files} | contents(home))
    assert states[0] == states[1]
    written = b"".join(state for state in states[0].values() if isinstance(state, bytes)).decode()
    assert all(f"{command}" in written for command in COMMANDS)
    assert "alias jump='cd ..'\n" in written or shell != "bash"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_of_all_commands_are_shown_as_they_are_installed(shell: str, tmp_path: Path) -> None:
    done = typed(f"jam --show-completion --shell {shell}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f"_{command.replace('-', '_').upper()}_COMPLETE=" in done.stdout.decode()


@pytest.mark.parametrize(
    ("line", "shell", "message"),
    [
        ("jam --install-completion", "/bin/tcsh", "got tcsh in $SHELL, expected bash, zsh or fish"),
        ("jam --show-completion", "", "got no shell in $SHELL"),
        ("jam --install-completion --show-completion", "/bin/bash", "expected one of them"),
        ("jam --shell bash", "/bin/bash", "expected it with --install-completion"),
    ],
)
def test_a_request_without_a_meaning_is_a_usage_error(line, shell, message, tmp_path) -> None:
    done = typed(line, tmp_path, env={"SHELL": shell, "HOME": str(tmp_path)})
    assert message in complaint(done, line, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_home_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / ".bash_completions").touch()
    line = "jam --install-completion --shell bash"
    assert ".bash_completions" in complaint(typed(line, tmp_path, env={"HOME": str(tmp_path)}), line)
