"""--where: which runs, spectra or JSON lines of the inputs a command uses.

A command opens its inputs and calls `select` once. Runs and spectra are selected by their metadata; no array is read for it.
Records of different kinds, for example searches and runs, are selected kind by kind. A kind that has none of the fields of
the condition is kept whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from jamtools.cli.common.session import Session
from jamtools.errors import InputError
from jamtools.io.streams import STDIN, describe, naming

if TYPE_CHECKING:
    from jamtools.conditions import Condition
    from jamtools.io.artefact import Artefact
    from jamtools.io.read import Ensemble
    from jamtools.records import Dataset

Record = Mapping[str, Any]

#: The words for the records of a kind; those of another kind are "records".
KIND_WORDS = {"runs": "runs", "spectra": "spectra", "nstar": "searches", "dataset": "datasets"}


class Item(NamedTuple):
    """A record, its kind, and where it stands: the number of its input and its number in it."""

    kind: str
    record: Record
    source: int
    number: int


def read_members(session: Session, files: Sequence[str] | None, where: str | None) -> Ensemble:
    """The runs of some files (None: standard input) that fulfil a condition. Raises InputError where none does."""
    from jamtools.io.artefact import Artefact
    from jamtools.io.read import read_ensemble

    opened = [Artefact(source).expect("runs") for source in files or [STDIN]]
    return read_ensemble(opened, select(session, where, opened, files))


def select(
    session: Session,
    where: str | None,
    opened: Sequence[Artefact | list[dict[str, Any]]],
    files: Sequence[str] | None,
) -> list[list[int]]:
    """For each input the numbers of its records that fulfil a condition; all of them where `where` is None.

    files: the names of the inputs, for messages; None means standard input. Prints how many records were kept. Raises
    InputError where none fulfils the condition, and for a condition that these records cannot fulfil.
    """
    items = [
        Item(kind, record, i, number)
        for i, inputs in enumerate(opened)
        for number, (kind, record) in enumerate(_records(inputs))
    ]
    if where is not None and items:
        from jamtools.conditions import Condition

        items = _fulfilling(session, Condition(where), items, files)
    numbers: list[list[int]] = [[] for _ in opened]
    for item in items:
        numbers[item.source].append(item.number)
    return numbers


def shared_data(
    artefacts: Sequence[Artefact],
    chosen: Sequence[Sequence[int]],
    change: Callable[[Dataset], Dataset] = lambda data: data,
) -> tuple[Dataset, list[tuple[Artefact, Sequence[int], Dataset]]]:
    """The data that the chosen runs of all files share; and each file with the numbers of its runs and its own data.

    The data of a file without chosen runs do not matter, if another has some. change: what to leave out of the data. Raises
    InputError for files of other data.
    """
    from jamtools.ensembles import common_dataset
    from jamtools.io.read import dataset_of

    used = [(artefact, numbers) for artefact, numbers in zip(artefacts, chosen) if numbers]
    files = [
        (artefact, numbers, change(dataset_of(artefact)))
        for artefact, numbers in used or zip(artefacts, chosen)
    ]
    names = [describe(artefact.source).removesuffix(": ") or "standard input" for artefact, _, _ in files]
    return common_dataset([(name, data) for name, (_, _, data) in zip(names, files)]), files


def check_by(by: Sequence[str] | None, records: Sequence[Record]) -> None:
    """Raises InputError for a field of --by that none of the records has."""
    from jamtools.grouping import check_fields_of_groups

    check_fields_of_groups(records, by or ())


def note_pooled(session: Session, records: Sequence[Record], by: Sequence[str]) -> None:
    """Prints what the groups by the fields of --by pool although their data, networks, losses or dynamics differ."""
    from jamtools.grouping import RUN_GROUP_FIELDS, SEARCH_GROUP_FIELDS, groups_of, pooled_in_words

    names = tuple(dict.fromkeys((*RUN_GROUP_FIELDS, *SEARCH_GROUP_FIELDS)))
    if words := pooled_in_words(records, groups_of(records, by).values(), names):
        session.note(f"pooled by --by {','.join(by) or 'none'}: {words}")


def _records(opened: Artefact | list[dict[str, Any]]) -> Iterator[tuple[str, Record]]:
    """The kind and the fields of each record of an input; a run has those of its data as `dataset`."""
    if isinstance(opened, list):
        for line in opened:
            yield str(line.get("kind") or ("nstar" if "n_star" in line else "JSON lines")), line
        return
    data = opened.metadata.get("dataset")
    for info in opened.infos:
        yield opened.kind, {"dataset": data, **info} if opened.kind == "runs" else info


def _fulfilling(
    session: Session, condition: Condition, items: list[Item], files: Sequence[str] | None
) -> list[Item]:
    """The items that fulfil a condition, in their order."""
    by_kind = {kind: list(group) for kind, group in groupby(sorted(items, key=_kind), _kind)}
    lacking = {kind for kind, group in by_kind.items() if not _has_fields(condition, group)}
    kept = []
    with naming(*(files or [STDIN])):
        if len(lacking) == len(by_kind):
            condition.check([item.record for item in items])
            raise InputError(f"got {condition.text!r} for {_words(*by_kind)}, expected runs or spectra")
        for kind, group in by_kind.items():
            if kind in lacking:
                session.note(
                    f"{condition.text!r} says nothing about {_words(kind)}: all {len(group)} are kept"
                )
                kept += group
            else:
                kept += _fulfilling_of_kind(session, condition, group)
    return sorted(kept, key=lambda item: (item.source, item.number))


def _fulfilling_of_kind(session: Session, condition: Condition, group: Sequence[Item]) -> list[Item]:
    """Those items of one kind that fulfil a condition. Raises InputError where none does."""
    where, words, records = condition.text, _words(group[0].kind), [item.record for item in group]
    transitions = _Transitions(session)
    flags = condition.among(records, transitions)
    if not any(flags):
        values = condition.values_in_words(records, lambda _: transitions.found)
        raise InputError(f"none of {len(group)} {words} fulfils {where!r}; {values}")
    session.note(f"{sum(flags)} of {len(group)} {words} kept by {where!r}")
    return [item for item, is_kept in zip(group, flags) if is_kept]


def _words(*kinds: str) -> str:
    return " and ".join(KIND_WORDS.get(kind, "records") for kind in kinds)


def _kind(item: Item) -> str:
    return item.kind


def _has_fields(condition: Condition, group: Sequence[Item]) -> bool:
    """Whether the records of a kind have the fields that a condition asks for."""
    return condition.unknown([item.record for item in group]) is None and (
        not condition.needs_distance or group[0].kind in ("runs", "spectra")
    )


class _Transitions:
    """The meaning of near(…): how far each run is from the transition that its sweep shows.

    found: the distances after the call. The call raises InputError where no sweep shows a transition.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.found: list[float | None] = []

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        from jamtools.grouping import RUN_GROUP_FIELDS, data_of, groups_of
        from jamtools.record_checks import check_fields
        from jamtools.records import RUN_FIELDS

        for record in records:
            check_fields(record, RUN_FIELDS, "run")
        sweeps = groups_of(records, RUN_GROUP_FIELDS)
        self.found = [None] * len(records)
        reasons = []
        for members in sweeps.values():
            runs = [records[i] for i in members]
            place, reason = _transition(runs)
            name = ", ".join(
                [
                    *([data] if (data := data_of(runs[0])) else []),
                    f"depth {runs[0]['depth']}",
                    runs[0]["activation"],
                    runs[0]["optimizer"],
                ]
            )
            if place is None:
                reasons.append(f"{name}: {reason}")
                continue
            self.session.note(f"the transition of {len(runs)} runs ({name}) lies at P/N = {place:.4g}")
            for i, run in zip(members, runs):
                self.found[i] = run["P"] / run["n_effective_expected"] / place - 1
        if len(reasons) == len(sweeps):
            raise InputError(f"near(…) found no transition in these runs ({'; '.join(reasons)})")
        for reason in reasons:
            self.session.note(f"no transition among the runs of {reason}; none of them is near it")
        return self.found


def _transition(runs: Sequence[Record]) -> tuple[float | None, str]:
    """P/N at the transition of the runs of one sweep, or None and the reason why there is none."""
    from jamtools.transition.jump import jumps

    try:
        places = [jump.P_over_N for jump in jumps(runs)]
    except InputError as error:
        return None, error.text
    place = next((place for place in places if place is not None), None)
    ratios = [run["P"] / run["n_effective_expected"] for run in runs]
    states = sorted({str(run["status"]) for run in runs})
    reason = (
        f"{len(runs)} runs at P/N = {min(ratios):.3g} to {max(ratios):.3g}, status {' and '.join(states)}"
    )
    return place, reason
