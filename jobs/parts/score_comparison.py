"""Several sets of predictions of the same videos: the spread over seeds, and whether one is better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.intervals import differences
from jobs.parts.scores import check_complete, headline_statistics, read_predictions
from pipelines.labels import EvaluationProtocol

if TYPE_CHECKING:
    import pyarrow as pa

_SHARED = ("protocol", "evaluation", "setting", "videos", "metric", "averaged_over")
_SHARED_DETAILS = ("corpus", "folds", "unit", "parameters", "gflops")


def over_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation (of a sample; None of a single seed) of the headline and every metric.

    Raises ValueError where results of `scores.evaluate` are not of the same protocol, evaluation or number of videos.
    """
    for name in _SHARED:
        if len(values := {result[name] for result in results}) > 1:
            raise ValueError(f"results of different {name} are not seeds of one thing: {sorted(map(str, values))}")
    metrics = [result["metrics"] for result in results]
    return {
        **{name: results[0][name] for name in _SHARED},
        "seeds": len(results),
        "headline": _spread([result["headline"] for result in results]),
        "metrics": {name: _spread([scores[name] for scores in metrics]) for name in metrics[0]},
    }


def details_over_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a report wants beside `over_seeds`: what the results of `evaluation.evaluate_folds` share, and mean and
    deviation of every score of a class and of a value of an attribute."""
    return {
        **{name: results[0][name] for name in _SHARED_DETAILS if name in results[0]},
        **{name: _joined([result[name] for result in results]) for name in ("per_class", "per_attribute")},
    }


def compare(
    tables: Mapping[str, Sequence[pa.Table]], protocol: EvaluationProtocol, *, baseline: str
) -> dict[str, list[float]]:
    """By arm: how far its headline lies above the baseline's, and the lower and upper end of the 95 % interval of that.
    An arm has a table per seed, in the same order; subjects and seeds are drawn, the same ones for all arms.

    Raises ValueError, naming videos, where the tables are not about the same videos, subjects and targets.
    """
    arms = {arm: [read_predictions(table, protocol) for table in seeds] for arm, seeds in tables.items()}
    first, counted = arms[baseline][0], {}
    for arm, seeds in arms.items():
        for one in seeds:
            check_complete(first.uri_N.tolist(), one.uri_N.tolist())
            same = [np.array_equal(getattr(one, name), getattr(first, name)) for name in ("subject_N", "target_NK")]
            if not all(same):
                raise ValueError(f"{arm}: subjects or targets of the same videos differ: compare what shares a catalog")
        counted[arm] = np.stack([headline_statistics(one, protocol)[0] for one in seeds])
    _, headline = headline_statistics(first, protocol)
    return {arm: apart[protocol.metric] for arm, apart in differences(counted, baseline, headline).items()}


def _joined(found: Sequence[Any]) -> Any:
    """Counts are the same for every seed; a score that one has not (a class that does not occur) none has."""
    first = found[0]
    if isinstance(first, Mapping):
        return {name: _joined([one[name] for one in found]) for name in first}
    return first if first is None or isinstance(first, int) else _spread(list(found))


def _spread(values: list[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation, "values": values}
