#!/usr/bin/env python
"""Render a corpus of procedural talking faces with their landmarks and action units, in the layout of VoxCeleb2.

    python jobs/render_synthetic.py
    python jobs/render_synthetic.py --output s3://bucket/faces --corpus.speakers-dev 200 --corpus.seed 1
    python jobs/render_synthetic.py --contact-sheet sheet.jpg

The same command again goes on where it stopped. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from pipelines.synthetic.config import SyntheticConfig


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    corpus: SyntheticConfig = field(default_factory=SyntheticConfig)
    output: str | None = None
    """Local directory or s3://bucket/prefix of the corpus. None: corpora/synthetic-<fingerprint> in $SEMBLANCE_HOME or
    in ~/semblance."""
    contact_sheet: Path | None = None
    """Draw people and emotions into this file (.png, .jpg) instead of rendering a corpus."""
    num_cpus: int | None = None
    """CPUs of a private Ray; None: the machine. Ignored on a cluster."""

    def __post_init__(self) -> None:
        if self.contact_sheet is not None and self.contact_sheet.suffix not in (".png", ".jpg", ".jpeg"):
            raise ValueError(f"contact_sheet={self.contact_sheet} must end in .png, .jpg or .jpeg")
        if self.contact_sheet is not None and self.output is not None:
            raise ValueError("output has no effect with contact_sheet; leave one of them out")


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.runtime import print_result, ray_session
    from pipelines.storage import Storage, StorageError, home
    from pipelines.synthetic.corpus import render_corpus

    if config.contact_sheet is not None:
        from pipelines.synthetic.contact_sheet import contact_sheet

        image = contact_sheet(image_format=config.contact_sheet.suffix[1:], seed=config.corpus.seed)
        config.contact_sheet.write_bytes(image)
        print_result({"contact_sheet": str(config.contact_sheet), "bytes": len(image)})
        return
    folder = f"synthetic-{config.corpus.fingerprint}"
    try:
        storage = Storage(config.output) if config.output else home().child("corpora", folder)
        with ray_session(num_cpus=config.num_cpus):
            manifest = render_corpus(storage, config.corpus)
    except (StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    clips = manifest["clips"]
    print_result(
        {
            "root": storage.uri,
            "fingerprint": manifest["fingerprint"],
            "videos": len(clips),
            "frames": sum(clip["frames"] for clip in clips),
        }
    )


if __name__ == "__main__":
    main()
