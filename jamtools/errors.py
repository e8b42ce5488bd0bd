"""The errors a user meets. Every message says what came, what was expected and what to do.

The command line turns a `JamError` into one line on stderr and exit code 1; anything else is a bug.
"""


class JamError(Exception):
    """Something the user can understand and mend."""


class InputError(JamError):
    """An artefact or an argument that cannot be worked with."""


class OutputError(JamError):
    """A result that could not be written."""


class CheckError(JamError):
    """A result that fails its own check: it is withheld, not printed."""
