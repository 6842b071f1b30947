#!/usr/bin/env python
"""Find faces, 68 landmarks and 18 action units in every video of a catalog, once, for masks and crops.

    python jobs/annotate_faces.py
    python jobs/annotate_faces.py --catalog s3://bucket/catalogs/mead-0123456789ab.parquet --openface s3://bucket/csv
    python jobs/annotate_faces.py --catalog ~/semblance/catalogs/folder-0123456789ab.parquet --faces all

The same command again goes on where it stopped. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    catalog: str | None = None
    """Table of the videos, written by build_catalog.py. None: that of the synthetic corpus, rendered on first use, with
    its ground truth as openface."""
    output: str | None = None
    """Local folder or s3://bucket/prefix of the annotations. None: annotations/<name of the catalog> beside it."""
    openface: str | None = None
    """Folder or s3://bucket/prefix of OpenFace 2 CSVs, named as the videos with .csv. Videos without one there are
    searched for faces by MediaPipe."""
    faces: Literal["largest", "all"] = "largest"
    """largest: one face per video, the longest largest; all: every face that can be followed. In frames of 512 pixels
    and more, squares are then searched for small faces too, down to a twelfth of the longer side (else a sixth), which
    takes three times as long or more: at 1280x720 with one large face 25 frames per CPU second instead of 70. Not with
    max_faces 1."""
    max_faces: int = 8
    """Faces looked for in a frame. 1 suits videos that are cropped to a face, and is the fastest."""
    num_workers: int | None = None
    """Processes that look for faces; None: one per CPU of the cluster."""
    num_cpus: int | None = None
    """CPUs of a private Ray; None: the machine. Ignored on a cluster."""

    def __post_init__(self) -> None:
        for name in ("max_faces", "num_workers", "num_cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.runtime import print_result, ray_session
    from jobs.parts.annotation import annotate_catalog
    from pipelines.annotate_video import AnnotateConfig
    from pipelines.face_mesh import FaceMeshUnavailable
    from pipelines.storage import StorageError

    try:
        with ray_session(num_cpus=config.num_cpus):
            result = annotate_catalog(
                config.catalog,
                config.output,
                AnnotateConfig(openface=config.openface, faces=config.faces, max_faces=config.max_faces),
                num_workers=config.num_workers,
            )
    except (FaceMeshUnavailable, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    print_result(result)


if __name__ == "__main__":
    main()
