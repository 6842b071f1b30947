"""Fine-tunings of the same videos, or heads on the same frames, against each other: is one better, and in what do they
differ?

Planned as it should be, arms share corpus, search and budget and have at least five seeds each; this says in what their
configs differ, and draws intervals over test subjects and seeds, the same ones for every arm.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.config import flat_fields
from jobs.parts.evaluation import METRICS, read_result
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.head_config import HeadConfig
from pipelines.labels import EvaluationProtocol
from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

COMPARISON, PICTURE = "comparison.json", "comparison.png"
FEWEST_SEEDS = 5
JOBS = (FinetuneConfig, HeadConfig)


class Arm(NamedTuple):
    """What a fine-tuning or the training of a head left, by seed."""

    results: list[dict[str, Any]]
    tables: list[pa.Table]
    protocol: EvaluationProtocol
    config: dict[str, Any]
    """Of its first run, as JSON values."""


def find_arm(name: str, home: Storage) -> str:
    """Address of the result of that name. Raises ValueError where there is none, or one of each job."""
    kinds = [config.RESULTS for config in JOBS]
    found = [home.full(f"{kind}/{name}") for kind in kinds if next(home.list(f"{kind}/{name}"), None) is not None]
    if len(found) != 1:
        several = f"several results: {', '.join(found)}" if found else f"no result in {' or '.join(kinds)}"
        raise ValueError(f"{name} has {several} of {home.uri}; give {name}=DIRECTORY")
    return found[0]


def compare_results(
    directories: Mapping[str, str], *, baseline: str, place: Storage, task: str | None = None
) -> dict[str, Any]:
    """Compares the arms by the headline of their protocol, or where they learned several tasks at once by that of
    `task`; writes comparison.json and comparison.png.

    Raises ValueError for a baseline that is no arm, a directory without a result, arms that are not about the same
    videos, or a task that they do not have.
    """
    from jobs.parts.score_comparison import compare, over_seeds

    if baseline not in directories:
        raise ValueError(f"baseline={baseline!r} is none of the arms {', '.join(directories)}")
    arms = {name: read_arm(Storage(directory), task) for name, directory in directories.items()}
    if len(protocols := {arm.protocol for arm in arms.values()}) > 1:
        raise ValueError(f"the arms are of different protocols: {protocols}")
    protocol = protocols.pop()
    if few := [name for name, arm in arms.items() if len(arm.tables) < FEWEST_SEEDS]:
        logger.warning("%s have fewer than %d seeds: differences of that few runs say little", few, FEWEST_SEEDS)
    result = {
        "corpus": arms[baseline].results[0]["corpus"],
        "protocol": protocol.name,
        "metric": protocol.metric,
        "averaged_over": protocol.group_by,
        "baseline": baseline,
        "arms": {name: {"directory": directories[name], **over_seeds(arm.results)} for name, arm in arms.items()},
        "above_baseline": compare({name: arm.tables for name, arm in arms.items()}, protocol, baseline=baseline),
        "differ_in": differing({name: arm.config for name, arm in arms.items()}),
        "unit": arms[baseline].results[0].get("unit", "videos"),
        "videos": arms[baseline].results[0]["videos"],
        "subjects": arms[baseline].results[0]["subjects"],
    }
    place.write(PICTURE, draw_comparison(result))
    place.write(COMPARISON, json.dumps(result, indent=1).encode())
    show(result)
    return result | {"directory": place.uri, "picture": place.full(PICTURE), "is_finished": True}


def read_arm(place: Storage, task: str | None = None) -> Arm:
    """Raises ValueError where the training is not finished, or for a task as `compare_results`."""
    from cluster.checkpoint import describe_checkpoint

    seeds = [place.child(item.name.split("/")[0]) for item in place.list() if item.name.endswith(f"/{METRICS}")]
    try:
        found = [_of_task(*read_result(seed), task) for seed in seeds or [place]]
    except ObjectMissing as error:
        raise ValueError(f"{place.uri} holds no finished fine-tuning or head: {error}") from None
    results, tables, protocols = (list(column) for column in zip(*found, strict=True))
    config = describe_checkpoint(results[0]["runs"][0])["metadata"]["config"]
    scored = {name: results[0][name] for name in HeadConfig.SCORING if name in results[0]}
    return Arm(results, tables, protocols[0], config | scored)


def _of_task(
    result: dict[str, Any], table: pa.Table, protocol: EvaluationProtocol, task: str | None
) -> tuple[dict[str, Any], pa.Table, EvaluationProtocol]:
    """What one of several tasks makes of a result."""
    from jobs.parts.affect_scores import narrowed, task_columns

    if protocol.task != "affect":
        if task is not None:
            raise ValueError(f"task={task} has no effect on protocol {protocol.name}, which is of one; leave it out")
        return result, table, protocol
    tasks = task_columns(protocol)
    if task not in tasks:
        raise ValueError(f"protocol {protocol.name} is of several tasks: say which, --task {' or '.join(tasks)}")
    single, columns = tasks[task]
    return result | result["tasks"][task], narrowed(table, columns), single


def differing(configs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Values by arm of every field of what is learned, and of what becomes of its scores, that the arms do not share;
    seeds and folds apart."""
    placed = {name for config in JOBS for name in config.PLACEMENT} - {*HeadConfig.SCORING}
    apart = {*placed, "seed", "folds", "recipe"}
    flat = {arm: flat_fields({k: v for k, v in config.items() if k not in apart}) for arm, config in configs.items()}
    names = sorted({name for values in flat.values() for name in values})
    found = {name: {arm: values.get(name) for arm, values in flat.items()} for name in names}
    return {name: values for name, values in found.items() if len({json.dumps(value) for value in values.values()}) > 1}


def show(result: dict[str, Any]) -> None:
    """Draws the table on stderr."""
    from rich.console import Console
    from rich.table import Table

    from jobs.parts.arms_chart import difference, spread

    table = Table(title=_title(result), caption=_caption(result))
    for name in ("", "seeds", "mean", f"above {result['baseline']}"):
        table.add_column(name, justify="right" if name else "left")
    for name, arm in result["arms"].items():
        apart = result["above_baseline"].get(name)
        table.add_row(name, str(arm["seeds"]), spread(arm["headline"]["values"]), difference(apart))
    console = Console(stderr=True)
    console.print(table)
    for field, values in result["differ_in"].items():
        told = "; ".join(f"{arm}: {value}" for arm, value in values.items())
        console.print(f"{field}: {told}", markup=False, highlight=False)


def draw_comparison(result: dict[str, Any]) -> bytes:
    """PNG: the headline of every run as a dot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from jobs.parts.arms_chart import FADED, draw_arms

    runs = {name: arm["headline"]["values"] for name, arm in result["arms"].items()}
    figure = Figure(figsize=(9, 1.8 + 0.6 * len(runs)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_arms(axes, runs, result["above_baseline"], baseline=result["baseline"], title=_title(result))
    figure.supxlabel(_caption(result), color=FADED, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _title(result: dict[str, Any]) -> str:
    over = f", mean over {result['averaged_over']}" if result["averaged_over"] else ""
    return f"{result['corpus']}, {result['protocol']}: {result['metric'].replace('_', ' ')}{over}"


def _caption(result: dict[str, Any]) -> str:
    evaluations = ", ".join(sorted({arm["evaluation"] for arm in result["arms"].values()}))
    return (
        f"{result['videos']} {result['unit']} of {result['subjects']} subjects; {evaluations} evaluation; intervals "
        "are drawn over subjects and seeds"
    )
