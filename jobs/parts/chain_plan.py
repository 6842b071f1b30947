"""What a chain would do, and how much that is, told without Ray: from its ledger, and from the catalogs that are there
already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jobs.parts.chain import is_settled
from jobs.parts.chain_config import UNKNOWN_ROOT, Stage
from jobs.parts.chain_corpora import known_catalog
from jobs.parts.chain_keys import LOOKED_UP, outcome_key, stage_key
from jobs.parts.chain_ledger import Entry
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.fold_config import FoldConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.run_config import RunConfig
from jobs.parts.sweep_config import SweepConfig
from jobs.parts.synthetic_corpus import AnyCorpus
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

NOT_YET = "after its catalog"
"""Said of a size that only the catalog tells."""


@dataclass(frozen=True)
class Planned:
    """What would become of a stage."""

    stage: str
    job: str
    state: Literal["done", "looked at again", "goes on", "failed, again", "changed, again", "would run", "waits"]
    words: str
    """The state, and what is waited for."""
    after: tuple[str, ...]
    size: str
    counts: dict[str, int]
    """What of the size is known: videos (or images) that are looked up or shown to an encoder, trials, runs (folds
    times seeds) of a trial, epochs of a run, samples of an epoch, cells."""


def plan(stages: Sequence[Stage], entries: Mapping[str, Entry], home: Storage) -> list[Planned]:
    """The stages in their order. Reads catalogs, starts nothing.

    Args:
        entries: of the chain's ledger.
        home: where catalogs are kept.
    """

    known_catalogs: dict[str, Catalog | None] = {}

    def catalog(corpus: AnyCorpus | FaceCorporaConfig) -> Catalog | None:
        if UNKNOWN_ROOT in roots_of(corpus):
            return None
        key = repr(corpus)
        if key not in known_catalogs:
            found = known_catalog(corpus, home)
            known_catalogs[key] = found and found[1]
        return known_catalogs[key]

    keys: dict[str, str] = {}
    rows = []
    for stage in stages:
        known, state = entries.get(stage.name), "waits"
        if all(name in keys for name in stage.inputs):
            key = stage_key(stage, keys)
            state = _state(stage, key, known)
            if state in ("done", "looked at again") and known is not None:
                keys[stage.name] = outcome_key(stage, key, _found(stage, known, catalog))
        counts = _counts(stage, catalog)
        waiting = [name for name in stage.inputs if name not in keys]
        words = f"waits for {', '.join(waiting)}" if waiting else state
        rows.append(Planned(stage.name, stage.job, state, words, stage.inputs, _size(stage, counts), counts))
    return rows


def _state(stage: Stage, key: str, known: Entry | None) -> Any:
    if known is None:
        return "would run"
    if known.key != key:
        return "changed, again"
    if known.state == "done":
        return "done" if is_settled(stage, key, known) else "looked at again"
    return "goes on" if known.state == "running" else "failed, again"


def _found(stage: Stage, known: Entry, catalog: Any) -> dict[str, Any]:
    """What looking again would find; of annotations what was found last."""
    result = dict(known.result or {})
    if stage.job == "catalog" and (there := catalog(stage.config)) is not None:
        result["fingerprint"] = there.fingerprint
    return result


def _counts(stage: Stage, catalog: Any) -> dict[str, int]:
    config = stage.config
    if stage.job in LOOKED_UP or stage.job == "extract":
        there = catalog(config if stage.job in LOOKED_UP else config.corpus)
        return {} if there is None else {"videos": there.counts()["ok"]}
    if isinstance(config, SweepConfig):
        return {"trials": config.search.count(config.dimensions), **_run_counts(config.base, catalog)}
    if isinstance(config, RunConfig):
        return _run_counts(config, catalog)
    return {"cells": len(config.cells)} if stage.job == "table" else {}


def _run_counts(config: RunConfig, catalog: Any) -> dict[str, int]:
    counts = {"epochs": config.optimizer.stop_epoch or config.optimizer.epochs}
    there = catalog(config.corpus)
    if isinstance(config, FoldConfig):
        if there is None:
            return counts | ({"runs": len(config.folds) * config.seeds} if config.folds else {})
        samples, folds = _learned(config, there)
        if isinstance(config, HeadConfig):  # of windows, whose number the labels tell
            return counts | {"runs": folds * config.seeds}
        return counts | {"samples": samples * config.passes_per_epoch, "runs": folds * config.seeds}
    if there is None:
        return counts
    return counts | {"samples": _pretrained(config, there) * config.passes_per_epoch}


def _pretrained(config: Any, catalog: Catalog) -> int:
    """Videos, takes or images of the training split that a pass visits."""
    import pyarrow.compute as pc

    from jobs.parts.pretraining import TRAINING_SPLIT
    from pipelines.catalog import OK
    from pipelines.take_stream import chosen_takes
    from pipelines.video_stream import corpus_shares

    if isinstance(config, MeadPretrainConfig):
        fewest_views = 2 if config.target_views == "other" else 1
        return chosen_takes(catalog, TRAINING_SPLIT, config.choice, fewest_views=fewest_views)[0].num_rows
    rows = catalog.table
    chosen = rows.filter(pc.and_(pc.equal(rows["split"], TRAINING_SPLIT), pc.equal(rows["status"], OK)))
    if isinstance(config, FacePretrainConfig):
        return round(corpus_shares(chosen["uri"], tuple(config.corpus.weights.items())).sum())
    return chosen.num_rows


def _learned(config: FoldConfig, catalog: Catalog) -> tuple[int, int]:
    """Labelled videos that a run learns from, on the average over folds, and the folds."""
    import numpy as np

    from jobs.parts.fold_runs import chosen_folds
    from jobs.parts.labelled_corpus import chosen_protocol
    from pipelines.labels import label_rows

    protocol = chosen_protocol(config.corpus, catalog)
    _, target_NK, part_N = label_rows(catalog.table["labels"], protocol)
    share = 1 - 1 / protocol.folds if protocol.folds else 1.0
    learned_MK = target_NK if protocol.folds else target_NK[part_N == "train"]
    samples = share * len(learned_MK)
    if isinstance(config, FinetuneConfig) and config.per_class is not None:
        samples = np.minimum(share * np.bincount(learned_MK.argmax(1)), config.per_class).sum()
    return round(samples), len(chosen_folds(config, protocol))


def _size(stage: Stage, counts: Mapping[str, int]) -> str:
    config = stage.config
    if stage.job in LOOKED_UP:
        videos = f"{counts['videos']:,} videos or images" if counts else "not known yet"
        return f"{videos}, root {', '.join(roots_of(config))}" if roots_of(config) else videos
    if stage.job == "extract":
        return f"{counts['videos']:,} videos or images" if counts else NOT_YET
    if stage.job == "table":
        return f"{counts['cells']} cells"
    if "epochs" not in counts:
        return ""
    numbers = [(name, counts[name]) for name in ("trials", "runs", "epochs", "samples") if name in counts]
    words = " x ".join(f"{number:,} {name if number != 1 else name[:-1]}" for name, number in numbers)
    is_known = "samples" in counts or (stage.job == "head" and "runs" in counts)
    return words if is_known else f"{words}, the rest {NOT_YET}"


def roots_of(corpus: AnyCorpus | FaceCorporaConfig) -> list[str]:
    """Where a corpus of the user's lies, or several; none of a synthetic one."""
    if isinstance(corpus, FaceCorporaConfig):
        return list(corpus.roots.values())
    return [corpus.root] if corpus.root is not None else []
