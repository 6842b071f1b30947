"""The config of `jobs/pretrain_mead.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jobs.parts.run_config import PretrainRunConfig
from models.config import MultiViewConfig
from models.tokens import Grid
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.clips import ClipConfig
from pipelines.take_sample import TakeSampleConfig
from pipelines.take_stream import TakeChoice


@dataclass(frozen=True)
class MeadCorpusConfig:
    """Which takes. Training reads the split `dev`, held-out loss and pictures use `test`."""

    name: Literal["synthetic", "mead"] = "synthetic"
    """synthetic: rendered on first use; mead: <actor>/video/<view>/<emotion>/level_<k>/<NNN>.mp4."""
    root: str | None = None
    """Directory or s3://bucket/prefix of the videos; the synthetic corpus needs none."""
    exclude: str | None = None
    """Text file of subjects or videos to leave out, one per line (a person's data withdrawn)."""
    annotations: str | None = None
    """Address of the annotations, made by jobs/annotate_faces.py. None: where that job puts them; those of the
    synthetic corpus are made of its ground truth."""
    actors: int = 6
    """Synthetic only: identities, some of whom are held out."""
    takes_per_actor: int = 4
    """Synthetic only: each is filmed by seven cameras."""

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
        """For results: the synthetic corpus says so."""
        return "synthetic mead" if self.is_synthetic else "mead"


@dataclass(frozen=True)
class MeadPretrainConfig(PretrainRunConfig):
    """Pre-training of a masked autoencoder across views, with masks that keep an active action unit (MAURA)."""

    JOB: ClassVar[str] = "pretrain_mead"

    corpus: MeadCorpusConfig = field(default_factory=MeadCorpusConfig)
    choice: TakeChoice = field(default_factory=TakeChoice)
    clip: ClipConfig = field(default_factory=lambda: ClipConfig(stride=2))
    align: AlignConfig = field(default_factory=AlignConfig)
    mask: AUMaskConfig = field(default_factory=AUMaskConfig)
    target_views: Literal["other", "any", "same"] = "other"
    """Which views may be drawn. other: all but the input's (MAURA 5.2.1); any: all (3.5); same: the input's alone."""
    au_source: Literal["own", "frontal"] = "own"
    """Whose activity of action units decides: that of the view itself, or of the take's frontal view."""
    model: MultiViewConfig = field(default_factory=MultiViewConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sample()

    @property
    def region(self) -> Grid | None:
        """LGI-Former needs as many visible tokens in every region."""
        return self.model.region if self.model.encoder.startswith("lgi_former") else None

    def sample(self) -> TakeSampleConfig:
        """What a sample looks like. Raises ValueError for values that do not go together."""
        return TakeSampleConfig(
            clip=self.clip,
            align=self.align,
            mask=self.mask,
            region=self.region,
            geometry=self.model.geometry,
            target_views=self.target_views,
            au_source=self.au_source,
            clips_per_video=self.clips_per_video,
            seed=self.seed,
            decoder=self.decode.decoder,
        )
