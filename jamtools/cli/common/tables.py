"""The columns of the table of each kind of record, and how a table is laid out.

A column is a label and a function from a record to a value. Each column is defined once here: the command that makes the
records prints some of them on stderr (`IN_COMMAND`), and `jam-show --table` prints some of them on stdout (`IN_SHOW`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jamtools.cli.common.values import INTEGER_SUFFIXES

Record = Mapping[str, Any]
Value = Callable[[Record], object]

#: How many neurons one cell names; a JSON line names all.
NEURONS_NAMED = 4


#: Kinds with columns of their own whose tables may lose the last ones; those of kinds without columns may as well.
CUT_IN_SHOW = ("cusps", "nstar")


# --- values of columns --------------------------------------------------------------------------------


def _field(name: str) -> Value:
    """The field of that name, `outer.inner` inside an object; None where it is absent."""

    def value(record: Record) -> object:
        inner: Any = record
        for part in name.split("."):
            inner = inner.get(part) if isinstance(inner, Mapping) else None
        return inner

    return value


def _fields(*names: str) -> dict[str, Value]:
    """Columns whose labels are the names of their fields."""
    return {name: _field(name) for name in names}


def _quotient(numerator: str, denominator: str) -> Value:
    """The quotient of two fields; None where one is absent or the denominator is 0."""
    above, below = _field(numerator), _field(denominator)
    return lambda record: _ratio(above(record), below(record))


def _ratio(above: Any, below: Any) -> float | None:
    return None if above is None or not below else above / below


def _before_and_after(before: str, after: str) -> Value:
    """Two fields as `0.02 → 0.01`."""
    return lambda record: f"{shown(_field(before)(record))} → {shown(_field(after)(record))}"


def _count_of_neurons(name: str) -> Value:
    """A list of neurons as `6: 1.0 1.4 2.3 2.7 …`: their number, and the first few as layer.neuron."""

    def value(record: Record) -> object:
        neurons = record.get(name)
        if not neurons:
            return None if neurons is None else 0
        names = [f"{layer}.{neuron}" for layer, neuron in neurons[:NEURONS_NAMED]]
        more = ["…"] if len(neurons) > NEURONS_NAMED else []
        return f"{len(neurons)}: {' '.join([*names, *more])}"

    return value


def _short_counts(name: str) -> Value:
    """A list of numbers as users type it: `300,1k,10k`."""
    return lambda record: ",".join(map(_short_number, record[name])) if record.get(name) else None


def _short_count(name: str) -> Value:
    """A number as users type it: `100k`."""
    return lambda record: _short_number(record[name]) if record.get(name) else None


def _short_number(number: int) -> str:
    for suffix, factor in reversed(INTEGER_SUFFIXES.items()):
        if number % factor == 0:
            return f"{number // factor}{suffix}"
    return str(number)


def _data(record: Record) -> str | None:
    """The name of the data of a record."""
    from jamtools.grouping import data_name, data_of  # not at the top: most commands start without it

    return data_name(record) if record.get("kind") == "dataset" else data_of(record)


# --- columns of each kind -----------------------------------------------------------------------------

NETWORK: dict[str, Value] = {
    **_fields("run", "d", "width", "depth"),
    "ρ": _field("activation"),
    "P": _field("P"),
    "N": _field("n_effective_expected"),
    "P/N": _quotient("P", "n_effective_expected"),
    "seed": _field("seed"),
}

#: Every column of each kind of record, by its label.
COLUMNS: dict[str, dict[str, Value]] = {
    "dataset": {
        **_fields("source", "seed", "P", "d"),
        "test": lambda record: record["shapes"].get("x_test", [0])[0],
        "labels": lambda record: ",".join(f"{label}:{n}" for label, n in record["balance"]["y"].items()),
        "data": _data,
    },
    "runs": {
        **NETWORK,
        **_fields("steps", "status", "certified"),
        "loss": _field("final_loss"),
        "N_Δ": _field("n_unsatisfied"),
        "N_Δ/N": _quotient("n_unsatisfied", "n_effective_expected"),
        "dead": _field("n_dead"),
        "wrong": _field("n_misclassified"),
        "|∇L|": _field("grad_norm"),
        "data": _data,
        "test error": _field("test_error"),
    },
    "finished runs": {
        **NETWORK,
        "N_Δ": _before_and_after("finish.n_unsatisfied_before", "n_unsatisfied"),
        "loss": _before_and_after("finish.final_loss_before", "final_loss"),
        "‖ΔW‖/‖W‖": _field("finish.relative_change"),
        "steps": _field("finish.steps"),
        **_fields("status", "certified"),
        "data": _data,
        "test error": _field("test_error"),
    },
    "verification": {
        **_fields("run", "width", "depth", "P", "seed", "status", "claimed", "certified", "holds"),
        "findings": lambda record: len(record.get("findings", [])),
        "N_Δ": _field("certificate.n_unsatisfied"),
        "N_c": _field("certificate.n_cusps"),
        "Clarke/scale": _quotient("certificate.gradient", "certificate.scale"),
        "λ_min/λ_max": _quotient("certificate.smallest_curvature", "certificate.largest_curvature"),
    },
    "spectra": {
        **NETWORK,
        "Ñ": _field("n_parameters"),
        "symmetries": _field("n_symmetries"),
        "μ": _field("norm_multiplier"),
        "loss": _field("final_loss"),
        "N_Δ": _field("n_unsatisfied"),
        "N_Δ/N": _quotient("n_unsatisfied", "n_effective_expected"),
        "rank_H0": _field("rank_H0"),
        "kernel_H0": _field("n_zero_H0"),
        "relative_gap_H0": _field("relative_gap_H0"),
        "delta_H0": _field("delta_weight_H0"),
        "gap_H0": _field("gap_H0"),
        "largest_H0": _field("largest_H0"),
        "N_-(Hp)": _field("n_negative_Hp"),
        "C0": _field("c0"),
        "N_-(H)": _field("n_negative_H"),
        "asymmetry_Hp": _field("asymmetry_Hp"),
        "tr Hp³": _field("odd_moment_3_Hp"),
        "tr Hp⁵": _field("odd_moment_5_Hp"),
        "scale_Hp": _field("scale_Hp"),
        "N_c": _field("n_cusps"),
        "convex": _field("n_convex_cusps"),
        "background": _field("cusp_background"),
        "smooth bound": _field("smooth_bound_holds"),
        "bound": _field("bound_holds"),
        "trace error": _field("trace_error"),
        "Frobenius error": _field("frobenius_error"),
        "data": _data,
    },
    "neff": {
        **NETWORK,
        "Ñ": _field("n_parameters"),
        "hidden": _field("n_hidden"),
        "N_eff": _field("n_effective"),
        "gap": _field("rank_gap"),
        "columns": _field("n_columns"),
        "silent": _field("n_silent"),
        "dead": _count_of_neurons("dead"),
        "always on": _count_of_neurons("always_on"),
        "data": _data,
    },
    "cusps": {
        **_fields("run", "width", "depth", "P"),
        "N": _field("n_effective_expected"),
        "N_Δ": _field("n_unsatisfied"),
        "tolerance": _field("tolerance"),
        "at zero": _field("n_with_gradient"),
        "background": _field("background"),
        "N_c": _field("n_cusps"),
        "N_c/N": _field("n_cusps_per_parameter"),
        "convex": _field("n_convex"),
        "‖∇L‖": _field("gradient_norm"),
        "Clarke": _field("clarke_norm"),
        "inside": _field("n_multipliers_inside"),
        "tangent": _field("lagrangian.dimension"),
        "N_-": _field("lagrangian.n_negative"),
        "λ_min/λ_max": _field("lagrangian.relative"),
        "stable": _field("lagrangian.stable"),
        "data": _data,
    },
    "gaps": {
        "of": _field("name"),
        **_fields("exponent", "interval"),
        "values": _field("n"),
        **_fields("order", "share", "settled", "range", "p_null", "p_fit", "refused"),
    },
    "nstar-jump": {
        **_fields("d", "depth", "activation", "optimizer", "steps"),
        "P/N": _field("P_over_N"),
        "interval": _field("P_over_N_interval"),
        "N_Δ/N": _field("unsatisfied_per_parameter"),
        "its interval": _field("unsatisfied_per_parameter_interval"),
        **{name: _field(f"n_{name}") for name in ("satisfied", "jammed", "dead", "other")},
        "finding": _field("finding"),
        "data": _data,
    },
    "nstar-fit": {
        **_fields("depths", "activation", "loss", "success", "optimizer", "steps"),
        "points": _field("n_points"),
        "d log N*/d log P": _field("slope"),
        "interval": _field("slope_interval"),
        "P/N*": _field("P_over_N"),
        "its interval": _field("P_over_N_interval"),
        "data": _data,
    },
    "nstar": {
        "data": _data,
        **_fields("P", "d", "depth", "loss", "success", "optimizer"),
        "budget": _short_count("steps"),
        "times": _short_counts("times"),
        "N*": _field("n_star"),
        "interval": _field("interval"),
        "width": _field("width"),
        "P/N*": _quotient("P", "n_star"),
        "trials": lambda record: len(record.get("trials", [])),
        "from": lambda record: record["interval"][0] or 0,
        "to": lambda record: record["interval"][1] or "beyond",
        "undecided": _field("n_undecided"),
        "dead": _field("n_dead"),
        "steps": _field("total_steps"),
    },
}

#: Columns of `jam-show --table`, for kinds of which it does not print all columns.
IN_SHOW: dict[str, tuple[str, ...]] = {
    "verification": (
        "run", "width", "depth", "P", "seed", "status", "claimed", "certified", "holds", "findings",
    ),
    "spectra": (
        *NETWORK, "loss", "N_Δ/N", "μ", "rank_H0", "gap_H0", "N_-(Hp)", "C0", "N_-(H)", "N_c", "bound", "data",
    ),
    "neff": (*NETWORK, "Ñ", "hidden", "N_eff", "gap", "data"),
    "cusps": (
        "run", "width", "depth", "P", "N", "N_Δ", "N_c", "N_c/N", "convex", "‖∇L‖", "Clarke", "tangent", "N_-",
        "λ_min/λ_max", "stable", "data",
    ),
    "nstar": (
        "data", "P", "d", "depth", "loss", "optimizer", "budget", "N*", "interval", "width", "P/N*", "trials", "undecided",
        "success", "times",
    ),
}  # fmt: skip

#: Columns that a table leaves out if none of its records has a value there.
OPTIONAL_COLUMNS = ("test error", "times", "data", "μ")

#: Kinds whose records `jam-show --table` shows field by field.
NOT_IN_SHOW = ("finished runs",)

#: Columns of the table that the command prints on stderr, for kinds of which it does not print all columns.
IN_COMMAND: dict[str, tuple[str, ...]] = {
    "runs": ("width", "P", "seed", "N", "status", "steps", "loss", "N_Δ", "N_Δ/N", "wrong"),
    "finished runs": (
        "run", "width", "P", "seed", "N", "N_Δ", "loss", "‖ΔW‖/‖W‖", "steps", "status", "certified",
    ),
    "verification": (
        "run", "width", "P", "seed", "status", "claimed", "certified", "holds", "N_Δ", "N_c", "Clarke/scale",
        "λ_min/λ_max",
    ),
    "spectra": (
        "run", "N", "N_Δ", "rank_H0", "gap_H0", "N_-(Hp)", "C0", "N_-(H)", "N_c", "bound", "trace error",
        "Frobenius error",
    ),
    "cusps": (
        "run", "N", "N_Δ", "tolerance", "at zero", "background", "N_c", "N_c/N", "convex", "‖∇L‖",
        "Clarke", "inside", "tangent", "N_-", "λ_min/λ_max", "stable",
    ),
    "neff": ("run", "Ñ", "hidden", "N_eff", "N", "gap", "columns", "silent", "dead", "always on"),
    "nstar": ("P", "width", "N*", "from", "to", "P/N*", "trials", "undecided", "dead", "steps"),
}  # fmt: skip

#: Columns of spectra, and the words for each. In the table of a few runs they are the rows.
SPECTRA_IN_WORDS = {
    "Ñ": "Ñ", "N": "N", "symmetries": "scale symmetries", "μ": "μ of the norm", "loss": "loss", "N_Δ": "N_Δ",
    "N_Δ/N": "N_Δ/N", "rank_H0": "rank H0", "kernel_H0": "kernel of H0", "relative_gap_H0": "relative gap at the cut",
    "delta_H0": "weight of the delta (N - rank)/N", "gap_H0": "continuum starts at (gap H0)",
    "largest_H0": "largest of H0", "N_-(Hp)": "N_-(Hp)", "C0": "C0 = N_-(Hp)/N", "N_-(H)": "N_-(H)",
    "asymmetry_Hp": "asymmetry of Hp (KS)", "tr Hp³": "tr Hp³, normalised", "tr Hp⁵": "tr Hp⁵, normalised",
    "scale_Hp": "rms of Hp / √L", "N_c": "N_c", "convex": "convex cusps", "background": "background, subtracted",
    "smooth bound": "N_Δ ≥ N_-", "bound": "N_Δ ≥ N_- - N_c", "trace error": "trace error",
    "Frobenius error": "Frobenius error",
}  # fmt: skip


def command_columns(kind: str) -> tuple[str, ...]:
    """Labels of the columns that the command which makes these records prints; the data are named only where they differ."""
    return IN_COMMAND.get(kind, tuple(label for label in COLUMNS[kind] if label != "data"))


def show_columns(kind: str, records: Sequence[Record] = ()) -> tuple[str, ...]:
    """Labels of the columns that jam-show prints for these records; none for a kind without a table of its own."""
    labels = () if kind in NOT_IN_SHOW else IN_SHOW.get(kind, tuple(COLUMNS.get(kind, ())))
    return tuple(
        label for label in labels if label not in OPTIONAL_COLUMNS or has_values(kind, label, records)
    )


def has_values(kind: str, label: str, records: Iterable[Record]) -> bool:
    """Whether one of the records has a value in this column."""
    return any(COLUMNS[kind][label](record) is not None for record in records)


def cells(kind: str, labels: Iterable[str], record: Record) -> list[object]:
    """The values of these columns of one record."""
    return [COLUMNS[kind][label](record) for label in labels]


def has_several_data(kind: str, records: Sequence[Record]) -> bool:
    """Whether records of a kind whose tables can name their data are of more than one kind of data."""
    return "data" in COLUMNS[kind] and len({_data(record) for record in records}) > 1


# --- layout -------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as a table shows it: numbers with four digits, `-` for None, yes and no for truth values."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
