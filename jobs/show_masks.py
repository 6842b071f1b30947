#!/usr/bin/env python
"""Draws action-unit masks over the faces of a video: landmarks, active units, kept patches.

    python jobs/show_masks.py
    python jobs/show_masks.py --video smile.mp4 --openface smile.csv
    python jobs/show_masks.py --video M003/video/{front,left_30,top}/happy/level_3/001.mp4 --mask.rest tube --unit 12

Without a video a synthetic face is drawn, seen by seven cameras. Needs no Ray. The last line of standard output is one
JSON object: the pictures, and of each video its active units and what the mask shows.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS
from pipelines.alignment import TEMPLATE_MARGIN, AlignConfig
from pipelines.au_masks import AUMaskConfig, num_visible


@dataclass(frozen=True)
class Options:
    """What is drawn."""

    video: tuple[Path, ...] = ()
    """Video files; the middle clip of each is masked. Several are taken for views of one performance and all show the
    unit that is drawn for the first. None: a synthetic performance."""
    openface: tuple[Path, ...] = ()
    """CSVs that OpenFace 2 wrote for the videos, in the same order. None: faces are found with MediaPipe."""
    unit: int | None = None
    """Action unit to keep, active or not; None: one of the active units is drawn."""
    mask: AUMaskConfig = field(default_factory=AUMaskConfig)
    align: Literal["box", "similarity"] = "box"
    """How the face is cut out. box: the square around it, upright; similarity: eyes at the same place in all frames."""
    margin: float = TEMPLATE_MARGIN
    """Side of that square over the larger side of the face's box, brows to chin."""
    size: int = 224
    """Height and width of the pictures that the model sees: the middle of a square that is a fourteenth larger."""
    stride: int = 2
    """Distance of the clip's 16 frames in the video."""
    seed: int = 0
    output: str = "masks"
    """Folder or s3://bucket/prefix for NAME-mask.png (the clip), NAME-units.png (units over time), atlas.png (all 18
    units) and result.json."""

    def __post_init__(self) -> None:
        if self.openface and len(self.openface) != len(self.video):
            raise ValueError(
                f"openface names {len(self.openface)} CSVs for {len(self.video)} videos; give one for each"
            )
        if self.unit is not None and self.unit not in ACTION_UNITS:
            raise ValueError(f"unit={self.unit} is none of {', '.join(map(str, ACTION_UNITS))}")
        if self.unit is not None and self.mask.keep == "nothing":
            raise ValueError(f"unit={self.unit} has no effect on mask.keep=nothing; leave one of them out")
        if self.stride < 1:
            raise ValueError(f"stride={self.stride} must be at least 1")
        num_visible(self.geometry, self.mask)
        AlignConfig(self.align, self.margin)

    @property
    def geometry(self) -> ClipGeometry:
        return ClipGeometry(height=self.size, width=self.size)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)

    from jobs.parts.mask_run import MaskPictureConfig, load_videos, show_masks, synthetic_views
    from pipelines.clips import ClipConfig
    from pipelines.face_mesh import FaceMeshUnavailable
    from pipelines.quarantine import SampleError
    from pipelines.storage import StorageError

    config = MaskPictureConfig(
        geometry=options.geometry,
        clip=ClipConfig(stride=options.stride, short="drop"),
        align=AlignConfig(options.align, options.margin, size=round(options.size * 240 / 224)),
        mask=options.mask,
        seed=options.seed,
    )
    try:
        videos = load_videos(options.video, options.openface) if options.video else synthetic_views()
        result = show_masks(videos, config, unit=options.unit, output=options.output)
    except (FaceMeshUnavailable, SampleError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
