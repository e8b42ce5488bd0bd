"""Every command has help with an example within 0.3 s, a version, usage errors of one line, and tracebacks on request."""

import os
import subprocess
import sys
import tomllib

import pytest

from jamtools import __version__
from tests.support.commands import ROOT
from tests.support.contract import BIN, COMMANDS, complaint, environment, side_by_side, typed

HELP_TIME = 0.3  # seconds


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_a_short_option_and_takes_less_than_0_3_s(command, tmp_path):
    times = []
    for _ in range(3):  # the best of three in processor time, since other processes may use the cores
        start = processor_time_of_children()
        done = typed(f"{command} --help", tmp_path)
        times.append(processor_time_of_children() - start)
        assert (done.returncode, done.stderr) == (0, "")
        if times[-1] < HELP_TIME:
            break
    text = done.stdout.decode()
    assert typed(f"{command} -h", tmp_path).stdout.decode() == text
    assert min(times) < HELP_TIME, f"{command} --help took {min(times):.2f} s"
    _, _, examples = text.partition("Example")
    assert f"{command} " in examples
    assert max(len(line) for line in text.splitlines()) <= 125


@pytest.mark.parametrize("name", sorted({command.split()[0] for command in COMMANDS}))
def test_importing_a_command_imports_no_large_library(name):
    program = f"import sys, jamtools.cli.{name.removeprefix('jam-')}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "numpy", "scipy", "rich", "matplotlib", "safetensors"} & set(done.stdout.split())


def processor_time_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_printed_and_an_unknown_option_is_refused_in_one_line(command, tmp_path):
    version, unknown = side_by_side([f"{command} --version", f"{command} --frobnicate"], tmp_path)
    assert (version.returncode, version.stdout.decode(), version.stderr) == (
        0,
        f"jamtools {__version__}\n",
        "",
    )
    line = complaint(unknown, command, 2)
    assert "--frobnicate" in line and line.endswith(f"; see {command.split()[0]} --help")


def test_the_commands_are_the_entry_points_of_the_package():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {command.split()[0] for command in COMMANDS}
    assert {command.split()[0] for command in COMMANDS} <= {path.name for path in BIN.glob("jam*")}


@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if line not in ("jam", "jam-data", "jam-nstar")]
)
def test_every_command_has_the_shared_options(command, tmp_path):
    text = typed(f"{command} --help", tmp_path).stdout.decode()
    shared = ["--quiet", "--debug", "--version", "--output"]
    if command.split()[-1] in ("jam-train", "jam-hessian", "jam-neff", "jam-cusps", "search"):
        shared += ["--device", "--dtype", "--threads"]
    assert [name for name in shared if name not in text] == []


#: A line with a usage error -> a part of its message.
USAGE = {
    "jam-data random -P 0 -d 3": "'-P': got 0, expected at least 1",
    "jam-data random -P 5 -d -3": "got -3, expected at least 1",
    "jam-data random -P 5 -d 3 --seed -1": "'--seed': got -1, expected at least 0",
    "jam-data random -P 1.2345k -d 3": "got '1.2345k', expected a whole number",
    "jam-data random -P 5": "Missing option '--dimension'",
    "jam-data": "Missing command",
    "jam-train --width 0": "'--width': got 0, expected at least 1",
    "jam-train --width 4,-4": "'--width': got -4, expected at least 1",
    "jam-train --width wide": "got 'wide', expected an integer such as 800, 10k or 2M",
    "jam-train --width 5:5": "names no integer",
    "jam-train --width 1:9:0": "expected start:stop or start:stop:step with a step above 0",
    "jam-train --depth 0 --width 3": "got --width with --depth 0",
    "jam-train --depth 0 --activation tanh": "got --activation with --depth 0",
    "jam-train --depth 0 --batch-norm": "got --batch-norm with --depth 0",
    "jam-train --depth -1": "got -1, expected at least 0",
    "jam-train --epsilon nan": "got nan, expected a finite number",
    "jam-train --epsilon 0": "got --epsilon 0 with free weights",
    "jam-train --depth 0 --epsilon -0.5": "got --epsilon -0.5 with free weights",
    "jam-nstar search --epsilon -0.5": "got --epsilon -0.5 with free weights",
    "jam-train --patterns 0": "got 0, expected at least 1",
    "jam-train --seed -1": "got -1, expected at least 0",
    "jam-train --seeds -2,0": "got -2, expected at least 0",
    "jam-train --steps 0": "got 0, expected at least 1",
    "jam-train --lr 0": "expected a number above 0",
    "jam-train --lr nan": "expected a number above 0",
    "jam-train --protocol none": "'none' is not one of 'paper-hinge'",
    "jam-train --activation tahn": "'linear'; did you mean tanh?; see jam-train --help",
    "jam-train --depht 3": "--depth",
    "jam-nstar serch": "search",
    "jam-train --require all": "'all' is not one of 'satisfied', 'stationary', 'certified'",
    "jam-train --device gpu": "expected auto, cpu, cuda or cuda:N",
    "jam-train --dtype float16": "'float16' is not one of 'float64', 'float32'",
    "jam-train --threads -1": "got -1, expected at least 0",
    "jam-train one two": "unexpected extra argument",
    "jam-train -o": "requires an argument",
    "jam-hessian --method guess": "'guess' is not one of",
    "jam-neff --tolerance -1": "expected a number above 0",
    "jam-gaps --share 2": "expected a number above 0 and at most 1",
    "jam-gaps --values a.txt b.safetensors": "expected one of them",
    "jam-nstar": "Missing command",
    "jam-nstar find": "No such command 'find'",
    "jam-nstar search --depth 0": "got --depth 0, a network that has no width",
    "jam-nstar search --depth -1": "got -1, expected at least 0",
    "jam-nstar search --seeds -1": "got -1, expected at least 0",
    "jam-nstar search --max-width 0": "got 0, expected at least 1",
    "jam-nstar fit --level 2": "at most 1",
    "jam-plot -o figure.jpeg": "ends in .png, .pdf or .svg",
    "jam-plot --figure moon -o figure.png": "'moon' is not one of",
    "jam-runs --drop theta": "cannot leave out 'theta', every run has it",
    "jam-runs --split depth -o all": "expected a name with {depth} in it",
    "jam-show --table --array x": "expected one",
}


@pytest.fixture(scope="module")
def usage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usage")
    done = dict(zip(USAGE, side_by_side(USAGE, folder)))
    assert list(folder.iterdir()) == []
    return done


@pytest.mark.parametrize("line", USAGE)
def test_a_usage_error_is_exit_code_2_and_one_line(line, usage):
    # `complaint` refuses the word "unexpected", which marks a bug; here it is click's word for an argument too many
    usage[line].stderr = usage[line].stderr.replace("unexpected extra", "extra")
    assert USAGE[line].replace("unexpected ", "") in complaint(usage[line], line, 2)


@pytest.mark.parametrize(("line", "code"), [("jam-show nowhere", 1), ("jam-show --frobnicate", 2)])
def test_a_traceback_is_printed_with_debug_only(line, code, tmp_path):
    complaint(typed(line, tmp_path), line, code)
    done = typed(f"{line} --debug", tmp_path)
    assert done.returncode == code and done.stdout == b""
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("Traceback") and last.startswith("jam-show: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [("", "jam-x: warning: odd\n"), ("-q", ""), ("--quiet", ""), ("-qo out", ""), ("--debug", None)],
)
def test_a_warning_of_a_library_is_one_line_and_quiet_hides_it(options, message):
    program = (
        "import warnings; from jamtools.cli.common import app as process, groups; app = process.new_app()\n"
        "@app.command()\n"
        "@groups.grouped\n"
        "def x(*, streams: groups.Streams): warnings.warn('odd')\n"
        "process.run(app, 'jam-x')"
    )
    arguments = [sys.executable, "-W", "default", "-c", program, *options.split()]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == message if message is not None else "UserWarning: odd" in done.stderr
