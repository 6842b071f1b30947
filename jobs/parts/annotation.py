"""Annotations as a user asks for them: of which catalog, kept where, and what is reported."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.annotate import Annotated, annotate
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotations import Annotations, open_annotations
from pipelines.catalog import IMAGE, OK, Catalog, load
from pipelines.face_mesh import FaceMeshUnavailable
from pipelines.storage import home
from pipelines.synthetic.clip_specs import ANNOTATIONS
from pipelines.track_file import NO_FACE
from pipelines.unit_map import WorkerPool

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN_PROBLEMS = 10
_ALL_VIEWS = "all"


def annotate_catalog(
    catalog_uri: str | None, output: str | None, config: AnnotateConfig, *, num_workers: int | None = None
) -> dict[str, Any]:
    """Annotates a catalog (None: the synthetic corpus, from its ground truth unless `config` names other CSVs), shows a
    summary on stderr and returns what to report. Ray must be up."""
    if catalog_uri is None:
        uri, catalog = _synthetic_catalog()
        config = replace(config, openface=config.openface or catalog.storage.full(ANNOTATIONS))
    else:
        uri, catalog = catalog_uri, load(catalog_uri)
    done = annotate(catalog, output or address(uri), config, pool=WorkerPool(num_workers))
    found = report(done)
    show(found, done.annotations.videos)
    return found


def find_annotations(catalog_uri: str, catalog: Catalog, *, given: str | None, has_truth: bool) -> Annotations:
    """The annotations of a catalog that a run needs: at the address `given`, or where they are kept. Those of a
    synthetic corpus (`has_truth`) are made of its ground truth, or found in its pixels where it is of single images,
    unless they are there. Ray must be up.

    Raises ValueError where a corpus that is not ours has none, with the command that makes them, and where faces cannot
    be looked for.
    """
    if has_truth:
        is_images = IMAGE in catalog.table["kind"].unique().to_pylist()
        found = AnnotateConfig(max_faces=1) if is_images else AnnotateConfig(openface=catalog.storage.full(ANNOTATIONS))
        try:
            return open_annotations(annotate_catalog(catalog_uri, None, found)["annotations"])
        except FaceMeshUnavailable as error:
            raise ValueError(str(error)) from error
    try:
        return open_annotations(given or address(catalog_uri))
    except ValueError as error:
        raise ValueError(f"{error}\nthe command is: python jobs/annotate_faces.py --catalog {catalog_uri}") from None


def address(catalog_uri: str) -> str:
    """Where the annotations of a catalog are kept unless the user says otherwise.

    Not under the name of the catalog itself: what begins with it is looked through for catalogs.
    """
    folder, slash, name = catalog_uri.rpartition("/")
    return f"{folder}{slash}annotations/{name.removesuffix('.parquet')}"


def report(done: Annotated) -> dict[str, Any]:
    """What the job prints. Rates are null where this call had nothing left to do."""
    videos = done.annotations.videos
    return {
        "annotations": done.annotations.place.uri,
        "fingerprint": done.annotations.fingerprint,
        "catalog_fingerprint": done.annotations.catalog_fingerprint,
        **_counts(videos),
        "views": views if len(views := _by_view(videos)) > 1 else {},
        "annotated_now": done.videos,
        "frames_per_second": done.frames / done.seconds if done.frames else None,
        "frames_per_second_per_core": done.frames / done.cpu_seconds if done.frames else None,
    }


def show(found: dict[str, Any], videos: pa.Table) -> None:
    """Draws the summary, and the first videos that could not be read, on stderr."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Faces in {found['annotations']}")
    for name in ("view", "videos", "unreadable", "no face", "frames", "with face", "sources"):
        table.add_column(name, justify="left" if name in ("view", "sources") else "right")
    for view, counts in {**found["views"], _ALL_VIEWS: found}.items():
        table.add_row(
            view,
            *(f"{counts[name]:,}" for name in ("videos", "unreadable", "without_face", "frames")),
            f"{counts['frames_with_face'] / counts['frames']:.1%}" if counts["frames"] else "-",
            ", ".join(f"{source} {number:,}" for source, number in counts["sources"].items()),
        )
    console = Console(stderr=True)
    console.print(table)
    for row in _unreadable(videos).slice(0, _SHOWN_PROBLEMS).to_pylist():
        console.print(f"{row['uri']}: {row['status']}, {row['detail']}", markup=False, highlight=False)
    if found["frames_per_second"]:
        each = found["frames_per_second_per_core"]
        console.print(f"{found['frames_per_second']:.0f} frames per second, {each:.0f} on each core", highlight=False)


def _counts(videos: pa.Table) -> dict[str, Any]:
    """Of the frames, those of videos that cannot be read are left out."""
    import pyarrow.compute as pc

    unreadable = _unreadable(videos)
    found = videos.filter(pc.equal(videos["status"], OK))
    sources = sorted(pc.value_counts(found["source"]).to_pylist(), key=lambda source: source["values"])
    return {
        "videos": videos.num_rows,
        "unreadable": unreadable.num_rows,
        "without_face": pc.sum(pc.equal(videos["status"], NO_FACE)).as_py() or 0,
        "frames": (pc.sum(videos["frames"]).as_py() or 0) - (pc.sum(unreadable["frames"]).as_py() or 0),
        "frames_with_face": pc.sum(videos["frames_with_face"]).as_py() or 0,
        "faces": pc.sum(videos["faces"]).as_py() or 0,
        "sources": {source["values"]: source["counts"] for source in sources},
    }


def _by_view(videos: pa.Table) -> dict[str, dict[str, Any]]:
    import pyarrow.compute as pc

    names = sorted(pc.unique(videos["view"]).to_pylist())
    return {name: _counts(videos.filter(pc.equal(videos["view"], name))) for name in names}


def _unreadable(videos: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return videos.filter(pc.invert(pc.is_in(videos["status"], value_set=pa.array([OK, NO_FACE]))))


def _synthetic_catalog() -> tuple[str, Catalog]:
    from jobs.parts.catalog import prepare_catalog
    from jobs.parts.pretrain_config import CorpusConfig

    return prepare_catalog(CorpusConfig(), home())
