"""What the command line advises."""

import pytest

from jamtools.cli.common.remedies import SHELL_WORDS, in_shell_words
from jamtools.errors import InputError, Remedy


@pytest.mark.parametrize("remedy", Remedy)
def test_every_remedy_has_shell_words(remedy):
    assert SHELL_WORDS[remedy]


def test_python_and_the_shell_get_different_advice_from_one_error():
    error = InputError("got float32, expected float64", Remedy.FLOAT64)
    assert str(error) == "got float32, expected float64; use dtype float64"
    assert in_shell_words(error) == "got float32, expected float64; use --dtype float64"
