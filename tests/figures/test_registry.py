"""The table of figures."""

from __future__ import annotations

from jamtools.figures.registry import FIGURES


def test_every_figure_has_a_function_with_a_docstring():
    assert all(figure.draw.__doc__ for figure in FIGURES.values())


def test_the_default_figure_of_runs_is_their_history():
    assert next(name for name, figure in FIGURES.items() if figure.kind == "runs") == "history"
