"""Fine-tuning in seconds: a corpus of rendered clips of five frames, and a config of a model that fits them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from jobs.parts.command_line import Command
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.finetune_run import finetune
from jobs.parts.labelled_config import LabelledCorpusConfig
from models.config import FineTuningConfig
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig
from pipelines.corpora.registry import LabelledImageName, LabelledName
from pipelines.storage import Storage
from pipelines.synthetic.config import AffWild2Config, ImageTwinConfig, MeadConfig, TwinConfig
from pipelines.synthetic.corpus import render_corpus
from pipelines.transforms import CropConfig
from tests.jobs.tiny import tiny_config, tiny_faces

TWIN = TwinConfig("enterface05", clips_per_class=1, seconds=0.2, size=64)
"""30 clips: six classes by one person in each of five folds."""
CLASSES, FOLDS = 6, 5


Twin = TwinConfig | MeadConfig | ImageTwinConfig | AffWild2Config


def tiny_twin(name: LabelledName) -> Twin:
    """The smallest miniature of a labelled corpus."""
    if name == "mead":
        return MeadConfig(actors=5, takes_per_actor=8, min_seconds=0.2, max_seconds=0.2, size=64)
    if name == "aff_wild2":
        return AffWild2Config(videos=24, seconds=2, size=64)
    if name in get_args(LabelledImageName):
        return ImageTwinConfig(name, images=64)  # eight people, some in each part
    return TwinConfig(name, clips_per_class=1, seconds=0.2, size=64)


def write_twin(place: Storage, config: Twin = TWIN) -> LabelledCorpusConfig:
    """Renders a twin, and names it as a corpus of one's own."""
    names = {MeadConfig: "mead", AffWild2Config: "aff_wild2"}
    render_corpus(place, config, show_progress=False)
    return LabelledCorpusConfig(name=names.get(type(config)) or config.corpus, root=place.uri)


def write_table(place: Storage, twin: Storage, *, classes: tuple[str, ...] = ("calm", "glad")) -> LabelledCorpusConfig:
    """The clips of the first three people of TWIN as a table of one's own, with other classes, as three folds."""
    images = [item.name for item in twin.list("face_aligned")]
    people = sorted({name.split("/")[1] for name in images})[:3]
    rows = [("path", "label", "subject", "fold")]
    for name in images:
        person = name.split("/")[1]
        if person not in people:
            continue
        place.write(name, twin.read(name))
        clip = name.rpartition("/")[0]
        if all(clip != row[0] for row in rows):
            rows.append((clip, classes[len(rows) % len(classes)], person, str(1 + people.index(person))))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    place.write("labels.csv", text.getvalue().encode())
    return LabelledCorpusConfig(name="table", root=place.uri)


def finetune_config(corpus: LabelledCorpusConfig, **changes: Any) -> FinetuneConfig:
    """4 frames of 64x64 pixels, six steps of an epoch where 24 videos are learned from."""
    model = tiny_config().model
    config = FinetuneConfig(
        recipe="tiny",
        corpus=corpus,
        evaluation="paper",
        clip=ClipConfig(frames=4, stride=1),
        crop=CropConfig(window=None, size=64),
        augmentation=AugmentationConfig(rand_augment=None),
        model=FineTuningConfig(
            encoder=model.encoder,
            geometry=model.geometry,
            region=model.region,
            mixup=0.0,
            cutmix=0.0,
            erasing=0.0,
            drop_path=0.0,
        ),
        optimizer=OptimizerConfig(base_lr=0.03, min_lr=1e-6, global_batch=4, epochs=1, warmup_epochs=0),
        engine=EngineConfig(zero_stage=0, precision="fp32"),
        workers=WorkersConfig(num_workers=1, cpus_per_worker=0.25),
        checkpoint=CheckpointConfig(every_steps=1),
        telemetry=TelemetryConfig(log_every_steps=1, probe_every_steps=100, tensorboard=False),
        validation_clips=7,
    )
    return replace(config, **changes)


def image_config(corpus: LabelledCorpusConfig) -> FinetuneConfig:
    """Images of 64x64 pixels, or single frames."""
    tiny, images = finetune_config(corpus), tiny_faces().model
    model = replace(tiny.model, encoder=images.encoder, geometry=images.geometry)
    return replace(tiny, clip=ClipConfig(frames=1, stride=1), model=model)


def run_finetune(config: FinetuneConfig, home: Storage, *, name: str) -> dict[str, Any]:
    """The last line of the job."""
    return last_line(lambda: finetune(Command(config, name=name, home=home.uri)))


def last_line(job: Callable[[], None]) -> dict[str, Any]:
    """What a job prints at its end."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        job()
    return json.loads(printed.getvalue().splitlines()[-1])


def checkpoints(run: Storage) -> dict[str, Any]:
    """What tells whether a run was trained again: the commits of its checkpoints and when they were written."""
    return {item.name: item.etag for item in run.list("checkpoints") if item.name.endswith("COMMIT.json")}
