"""Every labelled corpus from its names to scores: the twin cataloged, two folds fine-tuned for two steps, probed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pyarrow.parquet as pq
import pytest

from cluster.runtime import ray_session
from jobs.parts.annotation import annotate_catalog
from jobs.parts.catalog import find_or_build
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.probe_config import ProbeJobConfig
from jobs.parts.probe_run import probe
from models.config import LOSSES
from pipelines.alignment import AlignConfig
from pipelines.annotate_video import AnnotateConfig
from pipelines.catalog import load
from pipelines.corpora.registry import LabelledName, LabelledVideoName
from pipelines.labels import EvaluationProtocol, label_rows
from pipelines.storage import Storage
from pipelines.synthetic.clip_specs import ANNOTATIONS
from tests.jobs.tiny_finetuning import finetune_config, image_config, last_line, run_finetune, tiny_twin, write_twin

STEPS = 2
VIDEOS = get_args(LabelledVideoName)
PROTOCOLS = {"affectnet": ("expressions", "valence_arousal"), "aff_wild2": ("expr", "au", "va", "all", "au_folds")}
"""Where others than the first are learned in other ways."""


@pytest.fixture(scope="module")
def ray_is_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


def two_steps(corpus: LabelledCorpusConfig, protocol: EvaluationProtocol) -> FinetuneConfig:
    """Of two folds, with the head and loss of the protocol; MEAD's faces are followed."""
    tiny = finetune_config(corpus) if corpus.name in VIDEOS else image_config(corpus)
    smoothing = tiny.model.label_smoothing if protocol.task == "classes" else 0.0
    model = replace(tiny.model, task=protocol.task, loss=LOSSES[protocol.task][0], label_smoothing=smoothing)
    return replace(
        tiny,
        corpus=replace(corpus, protocol=protocol.name),
        evaluation="clean",
        folds=(1, 2) if protocol.folds else (),
        crop=AlignConfig(size=72, flip=False) if corpus.name == "mead" else tiny.crop,
        model=model,
        overfit=STEPS * tiny.optimizer.global_batch,
    )


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "asked"), [(name, asked) for name in get_args(LabelledName) for asked in PROTOCOLS.get(name, (None,))]
)
def test_a_corpus_is_fine_tuned_scored_and_probed(
    name: LabelledName, asked: str | None, ray_is_up: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Storage(tmp_path_factory.mktemp(name))
    corpus = write_twin(home.child("twin"), tiny_twin(name))
    uri, catalog = find_or_build(name, corpus.root, home)
    if name in VIDEOS:
        annotate_catalog(uri, None, AnnotateConfig(openface=home.full(f"twin/{ANNOTATIONS}")))
    protocol = catalog.protocol(asked or catalog.protocols[0].name)
    result = run_finetune(two_steps(corpus, protocol), home, name=name)

    assert (result["is_finished"], result["protocol"], len(result["runs"])) == (
        True,
        protocol.name,
        1 + bool(protocol.folds),
    )
    _, _, part_N = label_rows(load(uri).table["labels"], protocol)
    tested = ("1", "2") if protocol.folds else ("test",)
    table = pq.read_table(io.BytesIO(Storage(result["directory"]).read("predictions.parquet")))
    assert table.num_rows == len(set(table["uri"].to_pylist())) == sum(part in tested for part in part_N)
    metrics = json.loads(Storage(result["directory"]).read("metrics.json"))
    assert metrics["headline"] == result["headline"] is not None
    assert set(metrics["per_class"]) == set(protocol.classes)

    config = ProbeJobConfig(checkpoints=(result["runs"][0],), corpus=two_steps(corpus, protocol).corpus, home=home.uri)
    if protocol.task == "affect":
        with pytest.raises(ValueError, match="probes read one task: choose a protocol of one, expr, au, va"):
            probe(config)
        return
    probed = last_line(lambda: probe(config))
    assert len(probed["headlines"]) == 3 and all(value is not None for value in probed["headlines"].values())
