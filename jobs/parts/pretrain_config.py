"""The config of `jobs/pretrain_voxceleb.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jobs.parts.run_config import PretrainRunConfig
from models.config import MaskedAutoencoderConfig
from models.tokens import Grid
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig, num_visible
from pipelines.sample import SampleConfig
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
    annotations: str | None = None
    """Address of the annotations, made by jobs/annotate_faces.py, for crops and masks that follow the face. None: where
    that job puts them; those of the synthetic corpus are made of its ground truth."""
    speakers: int = 16
    """Synthetic only: identities in the dev split; a quarter as many again are held out."""
    clips_per_speaker: int = 4
    """Synthetic only: videos of each identity."""

    def __post_init__(self) -> None:
        if not self.is_synthetic and self.root is None:
            raise ValueError(f"corpus.name={self.name} needs --corpus.root, a directory or s3://bucket/prefix")
        if self.is_synthetic and (self.exclude or self.annotations):
            raise ValueError("corpus.exclude and corpus.annotations have no effect on the synthetic corpus; leave them")

    @property
    def is_synthetic(self) -> bool:
        return self.name == "synthetic"

    @property
    def title(self) -> str:
        """For results: a synthetic corpus says so."""
        return f"synthetic {self.layout}" if self.is_synthetic else self.layout

    @property
    def layout(self) -> Literal["voxceleb2", "folder"]:
        """How its files are named; the synthetic corpus is laid out as VoxCeleb2."""
        return "folder" if self.name == "folder" else "voxceleb2"


@dataclass(frozen=True)
class PretrainConfig(PretrainRunConfig):
    """Pre-training of a masked autoencoder on face video."""

    JOB: ClassVar[str] = "pretrain_voxceleb"

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig | AlignConfig = field(default_factory=CropConfig)
    mask: MaskConfig | AUMaskConfig = field(default_factory=lambda: MaskConfig(policy="region_tube"))
    model: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.mask, MaskConfig):
            self.check_plain(self.mask)
        elif self.mask.keep == "nothing":
            raise ValueError("mask.keep=nothing looks at no face: take a recipe with plain masks (mask.policy)")
        follows_face = self.sample().follows_face
        if self.corpus.annotations is not None and not follows_face:
            raise ValueError(
                "corpus.annotations has no effect where neither crops nor masks follow the face; leave it out, or take "
                "a recipe that follows it"
            )

    @property
    def unit_region(self) -> Grid | None:
        """Regions in which masks of action units show equally many tokens, as LGI-Former needs."""
        keeps_unit = isinstance(self.mask, AUMaskConfig)
        return self.model.region if keeps_unit and self.model.encoder.startswith("lgi_former") else None

    def sample(self) -> SampleConfig:
        """What a sample looks like. Raises ValueError for values that do not go together."""
        return SampleConfig(
            clip=self.clip,
            crop=self.crop,
            mask=self.mask,
            region=self.unit_region,
            geometry=self.model.geometry,
            clips_per_video=self.clips_per_video,
            seed=self.seed,
            decoder=self.decode.decoder,
        )

    def check_plain(self, mask: MaskConfig) -> None:
        """Raises ValueError for a plain mask that the model cannot take, in this run or shown to it later."""
        if mask.policy == "region_tube" and mask.region != self.model.region:
            raise ValueError(f"mask.region={mask.region} and model.region={self.model.region} must be the same")
        if self.model.encoder.startswith("lgi_former") and mask.policy != "region_tube":
            raise ValueError(
                f"mask.policy={mask.policy} leaves unequal numbers of visible tokens in the regions of "
                f"{self.model.encoder}; use mask.policy=region_tube, or a video_vit encoder"
            )
        num_visible(self.model.geometry.grid, mask)
