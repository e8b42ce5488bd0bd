"""How far a search for N* is: the trials that have ended, and between which sizes the present one lies.

    P 400, 14 trials finished, fails up to width 10, fits from width 13

Trials succeed by chance, so that the two sizes may overlap.

Source: none, bookkeeping only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jamtools.cli.common.progress import Update

if TYPE_CHECKING:
    from jamtools.transition.trial import Trial, TrialKey, TrialStore


class WatchedTrials:
    """A store of trials that counts those that have ended.

    vary: what the search varies, "width" or "patterns"; store: where the trials are kept, None for nowhere.
    """

    def __init__(self, vary: str, store: TrialStore | None = None) -> None:
        self.store, self._varies_width = store, vary == "width"
        self._ended: dict[TrialKey, Trial] = {}

    def get(self, key: TrialKey) -> Trial | None:
        """The trial with this key in the store, or None."""
        trial = None if self.store is None else self.store.get(key)
        if trial is not None:
            self._ended[key] = trial
        return trial

    def add(self, trial: Trial) -> None:
        """Stores a trial that has ended."""
        if self.store is not None:
            self.store.add(trial)
        self._ended[trial.key] = trial

    @property
    def n_ended(self) -> int:
        """The number of trials that have ended, with those of the store that the search has used."""
        return len(self._ended)

    def tell(self, key: TrialKey, update: Update) -> None:
        """Tells the user how far the search is, before the trial with this key is trained."""
        update(0, self.in_words(key))

    def in_words(self, key: TrialKey) -> str:
        """The state of the search that makes the trial with this key."""
        same_search = [
            trial for trial in list(self._ended.values()) if self._fixed(trial.key) == self._fixed(key)
        ]
        fits = sorted(self._size(trial.key) for trial in same_search if trial.outcome == "success")
        fails = sorted(
            self._size(trial.key) for trial in same_search if trial.outcome not in ("success", "undecided")
        )
        if self._varies_width:
            where, limits = f"P {key.P}", {"fails up to width": fails[-1:], "fits from width": fits[:1]}
        else:
            where, limits = f"width {key.width}", {"fits up to P": fits[-1:], "fails from P": fails[:1]}
        bracket = [f"{words} {size}" for words, sizes in limits.items() for size in sizes]
        trials = f"{self.n_ended} trial{'s' * (self.n_ended != 1)} finished"
        return ", ".join([where, trials, *bracket])

    def _size(self, key: TrialKey) -> int:
        return key.width if self._varies_width else key.P

    def _fixed(self, key: TrialKey) -> int:
        return key.P if self._varies_width else key.width
