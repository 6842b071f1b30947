"""What is told of every frame of whole videos: for heads that learn from sequences of features, and for submissions.

A catalog has a row, and so a label, for every image that is there. Here are the sequences as the files of a corpus tell
them, one entry per frame of the video, also for frames without an image.

Shape letters: N frames of a video, K numbers of a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from pipelines.labels import EvaluationProtocol
    from pipelines.storage import Storage


class VideoLabels(NamedTuple):
    """What a protocol says of the frames of a video."""

    target_NK: np.ndarray
    """float32: shares, marks or values as in a catalog; NaN where a frame, or a task of several, is not annotated."""
    part: str
    source: str
    """The file that tells it, below the root of the corpus."""


@dataclass(frozen=True)
class FrameLabels:
    """Label sequences of the videos of a corpus for one protocol."""

    protocol: EvaluationProtocol
    annotated: Mapping[str, VideoLabels]
    test_frames: Mapping[str, int | None]
    """Frames of the videos whose labels nobody has told; None where their number is not known either."""

    def videos(self) -> list[str]:
        """Those with labels, by name."""
        return sorted(self.annotated)

    def test_videos(self) -> list[str]:
        """Those whose labels nobody has told, in the order of the list that came with the corpus."""
        return list(self.test_frames)

    def part(self, video: str) -> str:
        return self.annotated[video].part

    def targets(self, video: str) -> np.ndarray:
        """float32 [N, K]; rows are NaN where a frame is not annotated."""
        return self.annotated[video].target_NK

    def num_frames(self, video: str) -> int:
        """Of a video with labels or a test video. Raises ValueError for one whose length is not told."""
        if video in self.annotated:
            return len(self.annotated[video].target_NK)
        frames = self.test_frames.get(video)
        if frames is None:
            raise ValueError(
                f"nothing tells how many frames the video {video!r} has under protocol {self.protocol.name}; add the "
                "example files of the challenge, which list them"
            )
        return frames


def read_frame_labels(storage: Storage, protocol: str) -> FrameLabels:
    """The label sequences of the Aff-Wild2 at `storage`. Raises ValueError for files that break their format, and for
    a protocol that they do not offer."""
    from pipelines.corpora.aff_wild2 import frame_labels

    offered = frame_labels(storage)
    if protocol not in offered:
        raise ValueError(f"{storage.uri} has no labels of protocol {protocol!r}; it has {', '.join(offered)}")
    return offered[protocol]
