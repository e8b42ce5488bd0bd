"""The transition N*(P): trials, the search, the median, its scaling, the bound and the jump."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.transition.bound import MeanBound as MeanBound
    from jamtools.transition.bound import StabilityBound as StabilityBound
    from jamtools.transition.bound import stability_bound as stability_bound
    from jamtools.transition.jump import Jump as Jump
    from jamtools.transition.jump import jumps as jumps
    from jamtools.transition.logistic import MedianEstimate as MedianEstimate
    from jamtools.transition.logistic import Tally as Tally
    from jamtools.transition.logistic import fit_median as fit_median
    from jamtools.transition.merging import merge as merge
    from jamtools.transition.merging import missing_cells as missing_cells
    from jamtools.transition.options import SearchOptions as SearchOptions
    from jamtools.transition.options import TrialSpec as TrialSpec
    from jamtools.transition.sampling import SizeAxis as SizeAxis
    from jamtools.transition.sampling import TrialCache as TrialCache
    from jamtools.transition.sampling import seek as seek
    from jamtools.transition.scaling import fit_groups as fit_groups
    from jamtools.transition.scaling import fit_scaling as fit_scaling
    from jamtools.transition.search import search_transition as search_transition
    from jamtools.transition.search import smallest_width as smallest_width
    from jamtools.transition.search_record import SearchCell as SearchCell
    from jamtools.transition.search_record import SearchRecord as SearchRecord
    from jamtools.transition.trainer import TrialTrainer as TrialTrainer
    from jamtools.transition.trial import Trial as Trial
    from jamtools.transition.trial import TrialKey as TrialKey
    from jamtools.transition.trial import TrialStore as TrialStore
    from jamtools.transition.trial import outcome_at_end as outcome_at_end
    from jamtools.transition.trial import outcome_at_time as outcome_at_time

_OWNERS = {
    "MeanBound": "bound",
    "StabilityBound": "bound",
    "stability_bound": "bound",
    "Jump": "jump",
    "jumps": "jump",
    "MedianEstimate": "logistic",
    "Tally": "logistic",
    "fit_median": "logistic",
    "merge": "merging",
    "missing_cells": "merging",
    "SearchOptions": "options",
    "TrialSpec": "options",
    "SizeAxis": "sampling",
    "TrialCache": "sampling",
    "seek": "sampling",
    "fit_groups": "scaling",
    "fit_scaling": "scaling",
    "search_transition": "search",
    "smallest_width": "search",
    "SearchCell": "search_record",
    "SearchRecord": "search_record",
    "TrialTrainer": "trainer",
    "Trial": "trial",
    "TrialKey": "trial",
    "TrialStore": "trial",
    "outcome_at_end": "trial",
    "outcome_at_time": "trial",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
