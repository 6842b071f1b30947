"""The config of `jobs/pretrain_voxceleb.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jobs.parts.run_config import RunConfig
from models.config import MaskedAutoencoderConfig
from models.tokens import Grid
from pipelines import au_masks, masks
from pipelines.au_masks import AUMaskConfig
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig
from pipelines.transforms import CropConfig


@dataclass(frozen=True)
class CorpusConfig:
    """Which videos. Training reads the split `dev`, held-out loss and pictures use `test`."""

    name: Literal["synthetic", "voxceleb2", "folder"] = "synthetic"
    """synthetic: rendered on first use; voxceleb2: {dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4; folder: any videos."""
    root: str | None = None
    """Directory or s3://bucket/prefix of the videos; the synthetic corpus needs none."""
    exclude: str | None = None
    """Text file of subjects or videos to leave out, one per line (a person's data withdrawn)."""
    speakers: int = 16
    """Synthetic only: identities in the dev split; a quarter as many again are held out."""
    clips_per_speaker: int = 4
    """Synthetic only: videos of each identity."""

    def __post_init__(self) -> None:
        if self.name != "synthetic" and self.root is None:
            raise ValueError(f"corpus.name={self.name} needs --corpus.root, a directory or s3://bucket/prefix")
        if self.name == "synthetic" and self.exclude is not None:
            raise ValueError("corpus.exclude has no effect on the synthetic corpus; leave it out")

    @property
    def layout(self) -> Literal["voxceleb2", "folder"]:
        """How its files are named; the synthetic corpus is laid out as VoxCeleb2."""
        return "folder" if self.name == "folder" else "voxceleb2"


@dataclass(frozen=True)
class UnitMaskConfig(AUMaskConfig):
    """Masks that keep the patches of an active action unit of the face."""

    annotations: str | None = None
    """Address of the annotations, made by jobs/annotate_faces.py. None: where that job puts them; those of the
    synthetic corpus are made of its ground truth."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep == "nothing":
            raise ValueError("mask.keep=nothing needs no annotations: take a recipe with plain masks (mask.policy)")


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Pre-training of a masked autoencoder on face video."""

    JOB: ClassVar[str] = "pretrain_voxceleb"

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    mask: MaskConfig | UnitMaskConfig = field(default_factory=lambda: MaskConfig(policy="region_tube"))
    model: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        geometry = self.model.geometry
        for name, value, wanted in (
            ("clip.frames", self.clip.frames, geometry.frames),
            ("crop.size", self.crop.size, geometry.height),
            ("crop.size", self.crop.size, geometry.width),
        ):
            if value != wanted:
                raise ValueError(f"{name}={value} but the model's clip has {wanted}; set both to the same value")
        if isinstance(self.mask, UnitMaskConfig):
            self._check_units(self.mask)
        else:
            self._check_policy(self.mask)

    @property
    def unit_region(self) -> Grid | None:
        """Regions in which masks of action units show equally many tokens, as LGI-Former needs."""
        follows_face = isinstance(self.mask, UnitMaskConfig)
        return self.model.region if follows_face and self.model.encoder.startswith("lgi_former") else None

    def _check_units(self, mask: UnitMaskConfig) -> None:
        if self.corpus.name == "synthetic" and mask.annotations is not None:
            raise ValueError("mask.annotations has no effect on the synthetic corpus; leave it out")
        au_masks.num_visible(self.model.geometry, mask, self.unit_region)

    def _check_policy(self, mask: MaskConfig) -> None:
        if mask.policy == "region_tube" and mask.region != self.model.region:
            raise ValueError(f"mask.region={mask.region} and model.region={self.model.region} must be the same")
        if self.model.encoder.startswith("lgi_former") and mask.policy != "region_tube":
            raise ValueError(
                f"mask.policy={mask.policy} leaves unequal numbers of visible tokens in the regions of "
                f"{self.model.encoder}; use mask.policy=region_tube, or a video_vit encoder"
            )
        masks.num_visible(self.model.geometry.grid, mask)
