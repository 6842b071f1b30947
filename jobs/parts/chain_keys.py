"""What a stage of a chain is keyed by: with the same key it is done, with another it has to be done again.

The key is a hash of the job, of what of its config decides the result (not where and how fast it is computed) and of
the keys of its inputs, so a change reaches all that follows. Of a catalog or annotations the stages that follow are
keyed by the fingerprint found as well: a corpus that was cataloged anew redoes them. The name of a stage is not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.config import to_json
from jobs.parts.chain_config import Stage, TableConfig
from jobs.parts.fold_config import FoldConfig
from jobs.parts.published import read_published
from jobs.parts.run_config import RunConfig
from jobs.parts.sweep_config import SweepConfig

LOOKED_UP = ("catalog", "annotate")
"""Jobs whose results are looked at again every time, which is cheap where they are there."""


def stage_key(stage: Stage, inputs: Mapping[str, str]) -> str:
    """16 hexadecimal digits.

    Args:
        inputs: by name of a stage that this one needs, its `outcome_key`.
    """
    return _digest(
        {
            "job": stage.job,
            "config": _deciding(stage, inputs),
            "weights": stage.weights_from and inputs[stage.weights_from],
            "weights_epoch": stage.weights_epoch,
            "values": stage.values_from and inputs[stage.values_from],
            "features": [inputs[name] for name in stage.features_from],
            "after": [inputs[name] for name in stage.after],
        }
    )


def outcome_key(stage: Stage, key: str, result: Mapping[str, Any]) -> str:
    """What the stages that follow are keyed by, once this one is done."""
    return _digest([key, result["fingerprint"]]) if stage.job in LOOKED_UP else key


def describe(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """The stages with their whole configs, as JSON values."""
    return [
        {
            "name": stage.name,
            "job": stage.job,
            "after": list(stage.inputs),
            "weights_from": stage.weights_from,
            "weights_epoch": stage.weights_epoch,
            "values_from": stage.values_from,
            "features_from": list(stage.features_from),
            "config": to_json(stage.config),
        }
        for stage in stages
    ]


def _deciding(stage: Stage, inputs: Mapping[str, str]) -> Any:
    config = stage.config
    if isinstance(config, SweepConfig):
        return config.identity()
    if isinstance(config, FoldConfig):
        return to_json(config.scored())
    if isinstance(config, RunConfig):
        return to_json(config.learning()) | {"keep_epochs": config.checkpoint.keep_epochs}
    values = to_json(config)
    if isinstance(config, TableConfig):
        values["cells"] = [{**cell, "stage": inputs[cell["stage"]]} for cell in values["cells"]]
        values["published"] = _published(config)
    return values


def _published(config: TableConfig) -> list[str] | None:
    """What stands beside: a number or a note that was mended makes the table anew."""
    if config.paper is None or config.table is None:
        return None
    table = read_published(config.paper, config.table)
    return [*(f"{place}: {cell}" for place, cell in table.cells.items()), *map(str, table.remarks)]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
