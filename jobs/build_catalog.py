#!/usr/bin/env python
"""List a corpus of face videos or images, decode every new or changed file once, and write the table that training
starts from.

    python jobs/build_catalog.py --corpus voxceleb2 --root s3://bucket/voxceleb2
    python jobs/build_catalog.py --corpus mead --root s3://bucket/mead
    python jobs/build_catalog.py --corpus folder --root ~/videos --exclude withdrawn.txt
    python jobs/build_catalog.py --corpus celeba --root ~/celeba --clean.min-side 64 --clean.face --clean.key-points

A file that cannot be used keeps its row, with the reason. Images may lie in .zip and .tar archives. The last line on
stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from pipelines.corpora.registry import CorpusName
from pipelines.image_cleaning import CleaningConfig


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    corpus: CorpusName
    """How names below the root are read. folder: any videos, one sub-folder per person."""
    root: str
    """Where the videos or images are: a local folder or s3://bucket/prefix."""
    output: str | None = None
    """File to write, local or s3://. None: catalogs/<corpus>-<fingerprint>.parquet in $SEMBLANCE_HOME or in
    ~/semblance."""
    previous: str | None = None
    """Catalog whose unchanged files are not decoded again. None: the output where it exists, else the newest catalog of
    the corpus in $SEMBLANCE_HOME."""
    exclude: str | None = None
    """Local text file of people or videos that withdrew, one subject, subject/video or uri per line."""
    clean: CleaningConfig = field(default_factory=CleaningConfig)
    """What is asked of the images of a corpus of images; others get the reason as status."""
    num_cpus: int | None = None
    """CPUs of a private Ray; None: the machine. Ignored on a cluster."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.runtime import print_result, ray_session
    from jobs.parts.catalog import build_and_save
    from pipelines.face_mesh import FaceMeshUnavailable
    from pipelines.storage import StorageError

    try:
        with ray_session(num_cpus=config.num_cpus):
            result = build_and_save(
                config.corpus,
                config.root,
                output=config.output,
                previous=config.previous,
                exclude=config.exclude,
                cleaning=config.clean,
            )
    except (FaceMeshUnavailable, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    print_result(result)


if __name__ == "__main__":
    main()
