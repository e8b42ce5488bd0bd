"""Which records belong together: runs, spectra or searches of one kind of data, network, loss and dynamics.

A group holds the records that agree in some fields. Unless the user names these fields, they are all that decide the result
apart from chance and size: `RUN_GROUP_FIELDS` for runs and spectra, `SEARCH_GROUP_FIELDS` for searches. Data are named by
their source and by what was done to them ("random d=10", "mnist parity pca 10"), and by neither their seed nor their size.

Source: none, definitions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jamtools.conditions import Formula
from jamtools.formulas import field_of
from jamtools.protocols import FREE_NORM, OPTIMIZERS, SGD_MAX_DEFAULT_BATCH, usual_settings

#: A JSON object: the metadata of a run or of a spectrum, or a JSON line.
Record = Mapping[str, Any]

#: Sets of images by the SHA-256 of their pixels and labels (data/images.py).
KNOWN_IMAGES = {"c2069063c1105f2bf96266aef1ff68c6e13bdda7a54e37bf19c16f1db24efc83": "mnist"}

#: The number of hexadecimal digits by which a name tells unknown images, or the user's own arrays, apart.
DIGITS_OF_NAME = 6

#: Parts of the preprocessing that a name leaves out: sizes, and what follows from the rest.
UNNAMED_PARTS = (
    "P_test",
    "images",
    "sha256",
    "first_pattern",
    "pixel_scale",
    "centre",
    "split",
    "distribution",
)

#: Parts of the preprocessing of images that their name has in words.
IMAGE_PARTS = ("labels", "pca", "whiten", "sphere")

#: So many values of a pooled field are listed in a message; of more, the first and the last.
LISTED_MOST = 8


# --- data ---------------------------------------------------------------------------------------------


def data_name(dataset: Record | None, d: int | None = None) -> str | None:
    """The name of a kind of data, from the metadata `dataset` of its artefact; None where these say nothing.

    d: the dimension of a pattern, where the metadata lack it.
    """
    if not dataset:
        return None
    source, d = str(dataset.get("source", "unnamed")), dataset.get("d", d)
    parts = dataset.get("preprocessing")
    steps: Record = parts if isinstance(parts, Mapping) else {}
    size = "" if d is None else f"d={d}"
    if source == "images":
        words = _image_words(steps, size)
    else:
        usual = {"random": "random", "arrays": "signs"}.get(source)
        digest = str(steps.get("first_pattern", ""))[:DIGITS_OF_NAME]
        gaussian = "gaussian" if steps.get("distribution") == "gaussian" else ""
        words = [source, gaussian, digest, size, *_labels(steps, usual)]
    named = IMAGE_PARTS if source == "images" else ("labels",)
    others = [f"{name}={steps[name]}" for name in sorted(steps) if name not in (*UNNAMED_PARTS, *named)]
    return " ".join(filter(None, [*words, *others]))


def _image_words(steps: Record, size: str) -> list[str]:
    digest = str(steps.get("sha256", ""))
    name = KNOWN_IMAGES.get(digest) or f"images {digest[:DIGITS_OF_NAME]}".strip()
    has_pca = steps.get("pca") is not None
    return [
        name,
        *_labels(steps),
        f"pca {steps['pca']}" if has_pca else size,
        "unwhitened" if has_pca and not steps.get("whiten", True) else "",
        "" if steps.get("sphere", True) else "off sphere",
    ]


def _labels(steps: Record, usual: str | None = None) -> list[str]:
    """The rule of the labels, unless it is the usual one."""
    labels = steps.get("labels")
    return [] if labels in (None, usual) else [f"{labels} labels" if labels == "balanced" else str(labels)]


def with_data(info: Record, dataset: Record | None) -> dict[str, Any]:
    """The metadata of a run, with the name of its data under `data` if they lack it; dataset: those of its training set."""
    return {**info, "data": data_name(dataset, info.get("d"))} if info.get("data") is None else dict(info)


def data_of(record: Record) -> str | None:
    """The name of the data of a record; None where it is not known.

    A search and its fit have it under `dataset`: the `data` of a search is the digest of its patterns.
    """
    if isinstance(record.get("dataset"), str):
        return str(record["dataset"])
    name = None if _is_search(record) else record.get("data")
    return None if name is None else str(name)


def _is_search(record: Record) -> bool:
    return "n_star" in record or _is_fit(record)


def _is_fit(record: Record) -> bool:
    """Whether a record is a fit of searches. It has the fields of its group themselves."""
    return "slope" in record


# --- fields -------------------------------------------------------------------------------------------


def _setting(name: str) -> Callable[[Record], Any]:
    """A setting of the dynamics. Runs have them all, searches only those that are not the usual ones."""

    def value(record: Record) -> Any:
        if _is_fit(record):
            return record.get(name)
        settings = record.get("settings") or {}
        own = settings.get(name, (settings.get("schedule") or {}).get(name))
        return _usual_setting(record, name) if own is None and _is_search(record) else own

    return value


def _usual_setting(search: Record, name: str) -> Any:
    """What a setting is in a search that does not name it; None where another program wrote the search."""
    loss, optimizer, steps = search.get("loss"), search.get("optimizer"), search.get("steps")
    if loss is None or optimizer not in OPTIMIZERS:
        return None
    return usual_settings(
        search.get("protocol"), loss, optimizer, steps if isinstance(steps, int) else None
    ).get(name)


def _steps(record: Record) -> int | None:
    """The steps that the trainings were given; None for newton, which ends by itself."""
    if record.get("optimizer") == "newton":
        return None
    given = record.get("steps") if _is_search(record) else None
    steps = _setting("steps")(record)
    return given if steps is None else steps


def _decay(record: Record) -> str | None:
    """How the learning rate falls: every, factor and floor."""
    if _is_fit(record):
        return record.get("decay")
    values = [_setting(name)(record) for name in ("every", "factor", "floor")]
    return (
        None if values == [None] * 3 else ":".join("" if value is None else f"{value:g}" for value in values)
    )


def _epsilon(record: Record) -> float | None:
    """The margin; runs have it beside their settings."""
    own = record.get("epsilon")
    return _setting("epsilon")(record) if own is None else own


def _norm(record: Record) -> str | None:
    """The fixed norm as it was asked for, or FREE_NORM."""
    if _is_fit(record):
        return record.get("norm")
    rule, radius = _setting("norm")(record), record.get("norm")
    if rule in (None, FREE_NORM):
        return FREE_NORM if radius is None else f"{radius:g}"
    return str(rule)


def _batch(record: Record) -> int | str | None:
    """Patterns per step; "default": they follow from P and the optimizer; None where another program wrote the record."""
    batch, P = _setting("batch")(record), record.get("P")
    if batch is None:
        return "default" if "n_star" in record and record.get("optimizer") else None
    if batch == "default":
        return "default"
    if record.get("optimizer") != "sgd":
        return batch or "default"
    return "default" if P and batch == min(max(P // 2, 1), SGD_MAX_DEFAULT_BATCH) else batch


#: Fields of a group that are more than a field of the record.
DERIVED: dict[str, Callable[[Record], Any]] = {
    "data": data_of,
    "dataset": data_of,
    "steps": _steps,
    "lr": _setting("lr"),
    "epsilon": _epsilon,
    "decay": _decay,
    "init": _setting("init"),
    "norm": _norm,
    "momentum": _setting("momentum"),
    "batch": _batch,
    "certify": lambda record: bool(record.get("certify")),
    "keep_dead": lambda record: bool(record.get("keep_dead")),
    "no_bias": lambda record: bool(record.get("no_bias")) or record.get("bias") is False,
    "finished": lambda record: bool(record.get("finish") or record.get("finished")),
}

_DYNAMICS = ("protocol", "steps", "lr", "decay", "init", "momentum", "batch", "norm")

#: Runs and spectra that agree in these fields differ only in their sizes and by chance.
RUN_GROUP_FIELDS = (
    "data",
    "d",
    "depth",
    "activation",
    "batch_norm",
    "no_bias",
    "loss",
    "epsilon",
    "optimizer",
    "finished",
    *_DYNAMICS,
)

#: The N* of searches that agree in these fields are points of one curve, or of one curve for each depth.
SEARCH_GROUP_FIELDS = (
    "data", "d", "activation", "batch_norm", "no_bias", "loss", "epsilon", "success", "optimizer", "certify",
    "keep_dead", *_DYNAMICS,
)  # fmt: skip


def value_of(record: Record, name: str) -> Any:
    """What a record has in a field of a group: one of `DERIVED`, or a field, a.b for a field of a field."""
    value = DERIVED[name](record) if name in DERIVED else field_of(name, record)
    return value if value is None or isinstance(value, int | float | str) else str(value)


# --- groups -------------------------------------------------------------------------------------------


def check_fields_of_groups(records: Sequence[Record], names: Iterable[str]) -> None:
    """Raises InputError for a field that none of the records has; the message suggests the nearest one."""
    for name in names:
        if name not in DERIVED:
            Formula(name).check(records)


def keys_of(records: Sequence[Record], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of the fields `names` for each record. Records with equal values form a group.

    A record that lacks a field has the value of the others if these agree, and None if they do not.
    """
    columns = []
    for name in names:
        values = [value_of(record, name) for record in records]
        known = {value for value in values if value is not None}
        default = known.pop() if len(known) == 1 else None
        columns.append([default if value is None else value for value in values])
    return list(zip(*columns)) if columns else [()] * len(records)


def groups_of(records: Sequence[Record], names: Sequence[str]) -> dict[tuple[Any, ...], list[int]]:
    """The numbers of the records of each group, by the values of the fields `names`, in the order of these values."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(keys_of(records, names)):
        groups.setdefault(key, []).append(number)
    return dict(sorted(groups.items(), key=lambda item: [(str(type(value)), value) for value in item[0]]))


def pooled_values(records: Sequence[Record], names: Sequence[str]) -> dict[str, list[Any]]:
    """The fields in which the records of one group differ, with their values; a record that lacks a field is ignored."""
    values = {name: {value_of(record, name) for record in records} - {None} for name in names}
    return {name: sorted(found, key=_order) for name, found in values.items() if len(found) > 1}


def _order(value: Any) -> tuple[str, Any]:
    """A key by which values of different types can be sorted."""
    return ("", value) if isinstance(value, int | float) else ("text", str(value))


def pooled_in_words(records: Sequence[Record], groups: Iterable[Sequence[int]], names: Sequence[str]) -> str:
    """What the groups pool although they differ in it: `data (mnist parity pca 10, random d=10)`; empty for nothing."""
    pooled: dict[str, set[Any]] = {}
    for members in groups:
        for name, values in pooled_values([records[i] for i in members], names).items():
            pooled.setdefault(name, set()).update(values)
    return "; ".join(f"{name} ({_listed(sorted(values, key=_order))})" for name, values in pooled.items())


def _listed(values: Sequence[Any]) -> str:
    """Values one after the other, or how many there are and the first and the last of them."""
    if len(values) <= LISTED_MOST:
        return ", ".join(map(str, values))
    first, last = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in (values[0], values[-1]))
    return f"{len(values)} values from {first} to {last}"
