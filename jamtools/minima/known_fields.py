"""The fields, columns and arrays that a run has: verification refuses any other, since it cannot say whether it is right.

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Iterable

from jamtools.minima.approach_claims import APPROACH_FIELDS
from jamtools.minima.origin_claims import ORIGIN_FIELDS
from jamtools.protocols import Settings
from jamtools.records import CERTIFICATE_ARRAYS, HISTORY_FIELDS, RUN_FIELDS, Run

#: The fields of a run beside RUN_FIELDS and those of its state.
OTHER_FIELDS = (
    "data", "outputs", "norm", "bias", "settings", "engine", "n_missed_crossings", "n_dead_at_start", "test_error",
    "test_loss", "certificate", "finish", "approach", "origin",
    "set_aside",
)  # fmt: skip

#: The fields of the objects in a run; those of its certificate are in certificate_claims.py.
TABLE_FIELDS = {
    "settings": tuple(Settings.__dataclass_fields__),
    "finish": (
        "steps", "status_before", "n_unsatisfied_before", "final_loss_before", "change_n_unsatisfied",
        "relative_change",
    ),
    "approach": APPROACH_FIELDS,
    "origin": ORIGIN_FIELDS,
}  # fmt: skip

#: The columns of a history.
HISTORY_COLUMNS = (*HISTORY_FIELDS, "distance", "theta", "test_error", "test_loss")


def unknown_fields(run: Run, fields_of_state: Iterable[str]) -> list[str]:
    """A line for each field, column and array that no run has."""
    known = {*RUN_FIELDS, *OTHER_FIELDS, *fields_of_state}
    names = [name for name in run.info if name not in known]
    for table, own in TABLE_FIELDS.items():
        fields = run.info.get(table)
        names += [f"{table}.{name}" for name in fields if name not in own] if isinstance(fields, dict) else []
    names += [f"history/{name}" for name in run.history if name not in HISTORY_COLUMNS]
    names += [f"certificate/{name}" for name in run.certificate if name not in CERTIFICATE_ARRAYS]
    return [f"{name}, expected the fields and arrays of a run alone" for name in names]
