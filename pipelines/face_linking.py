"""Which face of a frame is which face of the frame before.

Faces are matched by the distance of their landmarks, all at once (Kuhn 1955), and never across a shot change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_NEVER = 1e9


@dataclass(frozen=True)
class LinkConfig:
    """When two detections are the same face, and which faces count."""

    max_jump: float = 0.5
    """How far landmarks may move from one frame to the next on average, in eye distances. Over a gap it is this for
    each frame, but never more than 1: neighbours are further apart."""
    max_gap: int = 12
    """Frames a face may be away and still be the same."""
    min_frames: int = 5
    """Faces found in fewer frames are taken for errors of the detector. In a shorter video: all of its frames."""

    def __post_init__(self) -> None:
        if not 0 < self.max_jump <= 1:
            raise ValueError(f"max_jump={self.max_jump} must lie in (0, 1] eye distances")
        if self.max_gap < 0:
            raise ValueError(f"max_gap={self.max_gap} must not be negative")
        if self.min_frames < 1:
            raise ValueError(f"min_frames={self.min_frames} must be at least 1")


@dataclass(eq=False)
class _Chain:
    frames: list[int] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)


def link_faces(faces: Sequence[np.ndarray], starts_T: np.ndarray, config: LinkConfig) -> list[np.ndarray]:
    """The landmarks of every face through the video, float32 [T, 68, C] each, NaN where it was not found.

    Args:
        faces: per frame float [F, 68, C], x and y in pixels.
        starts_T: bool; frames that begin a new shot.

    Returns:
        The face whose size adds up to most over its frames comes first: the longest and largest.
    """
    if len(faces) != len(starts_T):
        raise ValueError(f"{len(faces)} frames of faces and {len(starts_T)} of shots must be as many")
    done: list[_Chain] = []
    open_chains: list[_Chain] = []
    for t, found_F68C in enumerate(faces):
        kept = [] if starts_T[t] else [chain for chain in open_chains if t - chain.frames[-1] <= config.max_gap + 1]
        done += [chain for chain in open_chains if chain not in kept]
        open_chains = kept
        matched = _match(open_chains, found_F68C, t, config)
        for i, face_68C in enumerate(found_F68C):
            if i not in matched:
                open_chains.append(_Chain())
            chain = open_chains[matched.get(i, -1)]
            chain.frames.append(t)
            chain.landmarks.append(face_68C)
    shortest = min(config.min_frames, len(faces))
    chains = [chain for chain in done + open_chains if len(chain.frames) >= shortest]
    chains.sort(key=lambda chain: -sum(map(_size, chain.landmarks)))
    return [_spread(chain, len(faces)) for chain in chains]


def _match(chains: list[_Chain], found_F68C: np.ndarray, t: int, config: LinkConfig) -> dict[int, int]:
    """Index of the chain that each face found goes on with; faces without one are left out."""
    from scipy.optimize import linear_sum_assignment

    if not chains or not len(found_F68C):
        return {}
    last_N682 = np.stack([chain.landmarks[-1][:, :2] for chain in chains])
    apart_NF = np.linalg.norm(last_N682[:, None] - found_F68C[None, :, :, :2], axis=3).mean(2)
    apart_NF /= np.sqrt(_scales(last_N682)[:, None] * _scales(found_F68C)[None])
    limit_N = np.minimum([config.max_jump * (t - chain.frames[-1]) for chain in chains], 1.0)
    cost_NF = np.where(apart_NF <= limit_N[:, None], apart_NF, _NEVER)
    return {int(i): int(n) for n, i in zip(*linear_sum_assignment(cost_NF), strict=True) if cost_NF[n, i] < _NEVER}


def _size(landmarks_68C: np.ndarray) -> float:
    return float(np.sqrt(np.prod(np.ptp(landmarks_68C[:, :2], axis=0))))


def _scales(landmarks_F68C: np.ndarray) -> np.ndarray:
    """About the eye distance of each face, [F], without its shrinking as the head turns."""
    return np.sqrt(np.prod(np.ptp(landmarks_F68C[..., :2], axis=1), axis=1)) / 1.5


def _spread(chain: _Chain, num_frames: int) -> np.ndarray:
    landmarks_T68C = np.full((num_frames, *chain.landmarks[0].shape), np.nan, np.float32)
    landmarks_T68C[chain.frames] = chain.landmarks
    return landmarks_T68C
