"""A synthetic corpus on disk: the layout of VoxCeleb2, MEAD or another corpus with its ground truth beside it.

    {dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4             224x224, 25 fps, H.264
    <actor>/video/<view>/<emotion>/level_<k>/<NNN>.mp4   the same
    <as in pipelines.synthetic.twin_layouts>             folders of images or videos, lists of labels
    <as in pipelines.synthetic.aff_wild2>                recordings with sound, faces as images, labels of every frame
    <as in pipelines.synthetic.image_layouts>            images, some in archives, and lists of labels
    annotations/<the video's path>.csv                   68 landmarks and action units, OpenFace 2 columns; of videos
    corpus.json                                          the config; written first
    manifest.json                                        every video or image with its emotion; written last

Everything about a video is a pure function of its config and its path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import groupby
from typing import Protocol

from pipelines.progress import progress
from pipelines.storage import Storage
from pipelines.synthetic.clip_specs import annotation_path, list_clips
from pipelines.synthetic.config import (
    SYNTHETIC_VERSION,
    AffWild2Config,
    ImageTwinConfig,
    MeadConfig,
    SyntheticConfig,
    TwinConfig,
)

Config = SyntheticConfig | MeadConfig | TwinConfig | ImageTwinConfig | AffWild2Config
CORPUS_FILE, MANIFEST_FILE = "corpus.json", "manifest.json"
TASK_ATTEMPTS = 3


class Spec(Protocol):
    """What is rendered at once, whatever the layout."""

    @property
    def person(self) -> int: ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Of each video the file that is written last."""
        ...

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest."""
        ...

    def render(self, paths: list[str]) -> Iterable[tuple[str, bytes | dict[str, bytes], bytes | None]]:
        """Path, video and annotation of each; images by their paths, in their order, where a folder is the video. An
        image of its own, or an archive of such, has no annotation."""
        ...


def list_specs(config: Config) -> Sequence[Spec]:
    """What is rendered at once: a clip, a take with all its views, images. Those of a person follow each other."""
    if isinstance(config, SyntheticConfig):
        return list_clips(config)
    if isinstance(config, TwinConfig):
        from pipelines.synthetic.twins import list_twins

        return list_twins(config)
    if isinstance(config, ImageTwinConfig):
        from pipelines.synthetic.image_twins import list_image_twins

        return list_image_twins(config)
    if isinstance(config, AffWild2Config):
        from pipelines.synthetic.aff_wild2 import list_recordings

        return list_recordings(config)
    from pipelines.synthetic.mead import list_takes

    return list_takes(config)


def list_files(config: Config) -> dict[str, bytes]:
    """The lists of labels that come with a corpus, by name."""
    if isinstance(config, TwinConfig):
        from pipelines.synthetic.twins import twin_files

        return twin_files(config)
    if isinstance(config, ImageTwinConfig):
        from pipelines.synthetic.image_layouts import image_files

        return image_files(config)
    if isinstance(config, AffWild2Config):
        from pipelines.synthetic.aff_wild2 import aff_wild2_files

        return aff_wild2_files(config)
    return {}


def ensure_corpus(parent: Storage, config: Config, *, num_workers: int | None = None) -> Storage:
    """The corpus of a config below `parent`, in a folder named by its fingerprint; rendered if it is not there."""
    storage = corpus_place(parent, config)
    render_corpus(storage, config, num_workers=num_workers)
    return storage


def corpus_place(parent: Storage, config: Config) -> Storage:
    """Where the corpus of a config is kept below `parent`, rendered or not."""
    return parent.child(f"synthetic-{config.fingerprint}")


def render_corpus(
    storage: Storage,
    config: Config,
    *,
    num_workers: int | None = None,
    show_progress: bool = True,
) -> dict[str, object]:
    """Renders what is missing of a corpus and returns its manifest.

    Runs in Ray tasks if Ray is up, else in this process. `num_workers` bounds the tasks in flight; None: the CPUs of
    the cluster. Interrupted, the same call goes on where it stopped. Raises ValueError if `storage` holds another
    corpus.
    """
    _claim(storage, config)
    if not storage.exists(MANIFEST_FILE):
        specs = list_specs(config)
        with progress("rendering faces", len(specs)) if show_progress else nullcontext(_ignore) as advance:
            _render_all(storage, specs, num_workers, advance)
        for name, content in list_files(config).items():
            storage.write(name, content)
        rows = [row for spec in specs for row in spec.rows()]
        storage.write(MANIFEST_FILE, json.dumps({**_identity(config), "clips": rows}, indent=1).encode())
    return json.loads(storage.read(MANIFEST_FILE))


def render_missing(storage: Storage, specs: Sequence[Spec], on_spec: Callable[[int], None]) -> None:
    """Renders and writes the videos that are not there yet. A video is written after its annotation, images in their
    order: what is there to the last is complete."""
    for spec in specs:
        missing = [path for path in spec.paths if not storage.exists(path)]
        for path, video, annotation in spec.render(missing):
            if annotation is not None:
                storage.write(annotation_path(path), annotation)
            files = {path: video} if isinstance(video, bytes) else video
            for name, content in files.items():
                storage.write(name, content)
        on_spec(1)


def _ignore(count: int) -> None:
    """Progress that nobody watches."""


def _claim(storage: Storage, config: Config) -> None:
    if not storage.exists(CORPUS_FILE):
        storage.write(CORPUS_FILE, json.dumps(_identity(config), indent=1).encode())
        return
    found = json.loads(storage.read(CORPUS_FILE))["fingerprint"]
    if found != config.fingerprint:
        raise ValueError(
            f"{storage.uri} holds the synthetic corpus {found}, not {config.fingerprint}; give another place"
        )


def _identity(config: Config) -> dict[str, object]:
    return {"fingerprint": config.fingerprint, "version": SYNTHETIC_VERSION, "config": asdict(config)}


def _render_all(
    storage: Storage, specs: Sequence[Spec], num_workers: int | None, advance: Callable[[int], None]
) -> None:
    # Where nothing has imported Ray it is not running, and its import costs seconds.
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        render_missing(storage, specs, advance)
        return
    by_person = [list(group) for _, group in groupby(specs, key=lambda spec: spec.person)]
    limit = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    task = ray.remote(num_cpus=1, max_retries=TASK_ATTEMPTS)(_render_in_task)
    running: dict[ray.ObjectRef, int] = {}
    for group in by_person:
        if len(running) >= limit:
            _collect(running, advance)
        running[task.remote(storage, group)] = len(group)
    while running:
        _collect(running, advance)


def _collect(running: dict, advance: Callable[[int], None]) -> None:
    """Waits for one task; its failure is raised here."""
    import ray

    done, _ = ray.wait(list(running), num_returns=1)
    ray.get(done[0])
    advance(running.pop(done[0]))


def _render_in_task(storage: Storage, specs: Sequence[Spec]) -> None:
    import cv2

    # The task was given one CPU; OpenCV would take all of the machine.
    cv2.setNumThreads(1)
    render_missing(storage, specs, _ignore)
