#!/usr/bin/env python
"""Render a corpus of procedural talking faces with their landmarks and action units.

    python jobs/render_synthetic.py
    python jobs/render_synthetic.py --output s3://bucket/faces --corpus.speakers-dev 200 --corpus.seed 1
    python jobs/render_synthetic.py mead --output s3://bucket/takes --corpus.actors 24 --corpus.takes-per-actor 24
    python jobs/render_synthetic.py mead --contact-sheet cameras.jpg
    python jobs/render_synthetic.py twin --corpus dfew --corpus.clips-per-class 20
    python jobs/render_synthetic.py images --corpus raf_db --corpus.images 960
    python jobs/render_synthetic.py aff_wild2 --corpus.audio neutral

The first word is the layout: voxceleb2 (the default), clips of one camera, mead, takes of seven cameras, or a miniature
of a corpus: twin, of labelled videos, images, of face images, or aff_wild2, of videos with sound that are labelled
frame by frame. Each has corpus options of its own; LAYOUT --help lists them. The same command again goes on where it
stopped. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from jobs.parts.command_line import first_word
from pipelines.corpora.registry import ImageName
from pipelines.synthetic.config import (
    AffWild2Config,
    ImageTwinConfig,
    MeadConfig,
    SyntheticConfig,
    TwinConfig,
    TwinName,
)


@dataclass(frozen=True)
class Twin(TwinConfig):
    """A miniature of a labelled corpus in its official layout, of procedural faces that fill the picture."""

    corpus: Annotated[TwinName, tyro.conf.arg(name="")] = "dfew"
    """Which corpus."""


@dataclass(frozen=True)
class Images(ImageTwinConfig):
    """A miniature of a corpus of face images in its official layout, of procedural faces."""

    corpus: Annotated[ImageName, tyro.conf.arg(name="")] = "affectnet"
    """Which corpus."""


LAYOUTS = {
    "voxceleb2": SyntheticConfig,
    "mead": MeadConfig,
    "twin": Twin,
    "images": Images,
    "aff_wild2": AffWild2Config,
}
Corpus = TypeVar("Corpus", SyntheticConfig, MeadConfig, Twin, Images, AffWild2Config)


@dataclass(frozen=True)
class Config(Generic[Corpus]):
    """The options of this job."""

    corpus: Corpus
    output: str | None = None
    """Local directory or s3://bucket/prefix of the corpus. None: corpora/synthetic-<fingerprint> in $SEMBLANCE_HOME or
    in ~/semblance."""
    contact_sheet: Path | None = None
    """Draw a sample into this file (.png, .jpg) instead of rendering a corpus: people and emotions; of mead actors and
    cameras, of images people of every corpus, of aff_wild2 people as time goes by. Of the corpus options the seed alone
    has an effect. There is none of a twin of videos."""
    num_cpus: int | None = None
    """CPUs of a private Ray; None: the machine. Ignored on a cluster."""

    def __post_init__(self) -> None:
        if self.contact_sheet is not None and self.contact_sheet.suffix not in (".png", ".jpg", ".jpeg"):
            raise ValueError(f"contact_sheet={self.contact_sheet} must end in .png, .jpg or .jpeg")
        if self.contact_sheet is None:
            return
        if isinstance(self.corpus, TwinConfig):
            raise ValueError("there is no contact_sheet of a twin of videos; render it, its images lie in folders")
        if self.output is not None or self.num_cpus is not None:
            raise ValueError("output and num_cpus have no effect with contact_sheet; leave them out")
        if self.corpus != type(self.corpus)(seed=self.corpus.seed):
            raise ValueError("of the corpus options only seed has an effect with contact_sheet; leave the others out")


def main() -> None:
    layout, arguments = first_word(LAYOUTS, "voxceleb2", kind="layout")
    corpus = LAYOUTS[layout]
    config = tyro.cli(
        Config[corpus],
        default=Config(corpus=corpus()),
        args=arguments,
        prog=f"{sys.argv[0]} [LAYOUT]",
        description=f"{__doc__}\n\nLayout (now: {layout}): {' '.join(corpus.__doc__.split())}",
    )

    from cluster.runtime import print_result, ray_session
    from pipelines.storage import Storage, StorageError, home
    from pipelines.synthetic.corpus import render_corpus

    if config.contact_sheet is not None:
        from pipelines.synthetic.contact_sheet import contact_sheet

        image = contact_sheet(layout, image_format=config.contact_sheet.suffix[1:], seed=config.corpus.seed)
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
            "images" if isinstance(config.corpus, ImageTwinConfig) else "videos": len(clips),
            "frames": sum(clip["frames"] for clip in clips),
        }
    )


if __name__ == "__main__":
    main()
