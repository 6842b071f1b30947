"""Pre-training on single videos: the corpus, the stream, the model and the pictures of `jobs/pretrain_voxceleb.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from cluster.protocols import Reference
from jobs.parts.catalog import prepare_catalog
from jobs.parts.held_out import HeldOutConfig, batch_of
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.pretraining import HELD_OUT_SPLIT, TRAINING_SPLIT
from jobs.parts.training import seen_by, stream_fields, write_curves
from jobs.parts.transfer import prepare_transfer, transfer_probes
from jobs.parts.validation import ValidationConfig
from pipelines.annotations import check_annotations, fingerprint_of
from pipelines.catalog import OK, Catalog
from pipelines.storage import Storage
from pipelines.video_stream import VideoStreamConfig, judged_videos

if TYPE_CHECKING:
    from pipelines.annotations import Annotations


def prepare(config: PretrainConfig, home: Storage) -> VideoPretraining:
    """The corpora found or rendered, and cataloged, and annotations where crops or masks follow the face. Ray must be
    up.

    Raises ValueError where these are missing or of another catalog, and what `prepare_transfer` raises.
    """
    uri, catalog = prepare_catalog(config.corpus, home)
    transfer = prepare_transfer(config, home)
    if not config.sample().follows_face:
        return VideoPretraining(config, uri, catalog, transfer=transfer)
    from jobs.parts.annotation import find_annotations

    corpus = config.corpus
    annotations = find_annotations(uri, catalog, given=corpus.annotations, has_truth=corpus.is_synthetic)
    return VideoPretraining(config, uri, catalog, annotations, transfer=transfer)


class VideoPretraining:
    """A masked autoencoder on the videos of a catalog (see jobs.parts.pretraining.Pretraining)."""

    def __init__(
        self,
        config: PretrainConfig,
        catalog_uri: str,
        catalog: Catalog,
        annotations: Annotations | None = None,
        *,
        transfer: ValidationConfig | None = None,
    ) -> None:
        if annotations is not None:
            check_annotations(catalog, annotations)
        self.config, self.catalog_uri, self.catalog, self._annotations = config, catalog_uri, catalog, annotations
        self.fingerprint = fingerprint_of(catalog, annotations)
        self.transfer = transfer

    def task(self) -> Reference:
        return Reference("models.masked_autoencoder:build", self.config.model)

    def stream(self, actors: int) -> Reference:
        fields = stream_fields(self.config, actors)
        config = VideoStreamConfig(
            catalog=self.catalog_uri,
            split=TRAINING_SPLIT,
            annotations=annotations_address(self.config, self.catalog_uri),
            sample=self.config.sample(),
            **fields,
        )
        return Reference("pipelines.video_stream:build_stream", config)

    def probes(self) -> tuple[tuple[str, Reference], ...]:
        loss = Reference("jobs.parts.held_out:build_held_out_loss", held_out(self.config, self.catalog_uri))
        return (("held_out", loss), *transfer_probes(self.transfer))

    def data(self) -> dict[str, Any]:
        return {
            "corpus": self.config.corpus.title,
            "subjects": self.catalog.subjects(TRAINING_SPLIT),
            "started_from": seen_by(self.config.init_from),
        }

    def unusable(self) -> list[dict[str, Any]]:
        videos = judged_videos(self.catalog, self.config.sample(), self._annotations)
        table = videos.filter(pc.not_equal(videos["status"], OK)).select(["sample_id", "uri", "status", "detail"])
        return table.rename_columns(["sample_id", "uri", "reason", "detail"]).to_pylist()

    def describe_data(self, run_directory: Storage) -> None:
        """Nothing that the config does not say."""

    def draw_pictures(self, run_directory: Storage) -> dict[str, Any]:
        from jobs.parts.reconstruction_report import make_reconstruction
        from jobs.parts.trained import load_trained

        pictures = run_directory.child("pictures")
        batch = batch_of(self.catalog, held_out(self.config, self.catalog_uri))
        uris = self.catalog.table["uri"].to_pylist()
        trained = load_trained(run_directory.uri)
        drawn = make_reconstruction(
            trained.model(),
            batch,
            pictures,
            names=[uris[sample_id] for sample_id in batch["sample_id_B"]],
            checkpoint=trained.name,
            mask=self.config.mask,
            clip=self.config.clip,
        )
        curves = write_curves(run_directory, step=trained.step, title=trained.name)
        psnr = {name: round(value, 3) for name, value in drawn.metrics.items() if name.startswith("psnr_")}
        return psnr | {"pictures": [*(pictures.full(name) for name in drawn.files), curves]}


def held_out(config: PretrainConfig, catalog_uri: str) -> HeldOutConfig:
    """One mask for each clip, whatever training draws."""
    sample = replace(config.sample(), clips_per_video=1)
    annotations = annotations_address(config, catalog_uri)
    return HeldOutConfig(catalog_uri, HELD_OUT_SPLIT, config.held_out_clips, sample, annotations)


def annotations_address(config: PretrainConfig, catalog_uri: str) -> str | None:
    """Of the faces that crops or masks follow; None where neither does."""
    if not config.sample().follows_face:
        return None
    from jobs.parts.annotation import address

    return config.corpus.annotations or address(catalog_uri)
