"""The held-out clips of a run, found again by what its checkpoint records. Needs no Ray, builds no catalog."""

from __future__ import annotations

from jobs.parts.catalog import stored_catalogs
from jobs.parts.held_out import batch_of
from jobs.parts.trained import Trained
from jobs.parts.video_pretraining import held_out
from models.tokens import PretrainingBatch
from pipelines.catalog import Catalog
from pipelines.storage import Storage, home


def held_out_clips(trained: Trained) -> tuple[PretrainingBatch, list[str]]:
    """The held-out batch of the run, with its masks, and the names of the videos or images.

    Raises ValueError when the run's catalog is not where runs keep theirs, or a video of it cannot be read.
    """
    uri, catalog = find_catalog(trained)
    batch = batch_of(catalog, held_out(trained.config, uri))
    uris = catalog.table["uri"].take(batch["sample_id_B"]).to_pylist()
    return batch, uris


def find_catalog(trained: Trained) -> tuple[str, Catalog]:
    """Address and content of the catalog that the run was trained on, known by its fingerprint.

    Raises ValueError when it lies neither beside the run (HOME/runs/NAME, HOME/catalogs) nor in the home of this user.
    """
    fingerprint = trained.provenance["metadata"]["stream"].partition(":")[0]
    layout = trained.config.corpus.layout
    places = [place for place in (_home_of(trained.provenance["checkpoint"]), home()) if place is not None]
    for place in places:
        for uri, catalog in stored_catalogs(place, layout):
            if catalog.fingerprint == fingerprint:
                return uri, catalog
    looked = " or ".join(dict.fromkeys(place.full("catalogs") for place in places))
    raise ValueError(
        f"the catalog of the run (corpus {trained.config.corpus.title}, fingerprint {fingerprint[:12]}) is not in "
        f"{looked}: set SEMBLANCE_HOME to where it was trained, or name files with --video or --image"
    )


def _home_of(checkpoint: str) -> Storage | None:
    """HOME of a checkpoint HOME/runs/NAME/checkpoints/step-..., None for one that lies elsewhere."""
    parts = checkpoint.rsplit("/", 4)
    return Storage(parts[0]) if len(parts) == 5 and parts[1] == "runs" and parts[0] else None
