"""Labels of images that are frames of videos: of each sequence the entries of the frames that are there.

Shape letters: R images, N rows that a protocol labels, M of one video, K numbers of a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipelines.frame_labels import FrameLabels
from pipelines.label_columns import ProtocolLabels, with_label_columns


def rows_by_video(table: pa.Table) -> dict[str, np.ndarray]:
    """Rows of each video, int64, ascending."""
    coded = table["video"].combine_chunks().dictionary_encode()
    code_R, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    order_R = np.argsort(code_R, kind="stable")
    starts = np.searchsorted(code_R[order_R], np.arange(len(names) + 1))
    return {name: order_R[start:stop] for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True)}


def label_images(table: pa.Table, frame_R: np.ndarray, offered: Sequence[FrameLabels]) -> pa.Table:
    """The table with its labels: of each protocol what it says of the frames, where it says anything. `frame_R` counts
    the frames of a video from 0."""
    rows = rows_by_video(table)
    return with_label_columns(table, [_labels(known, rows, frame_R) for known in offered])


def _labels(known: FrameLabels, rows: Mapping[str, np.ndarray], frame_R: np.ndarray) -> ProtocolLabels:
    row, target, part = [], [], []
    for video, labels in known.annotated.items():
        row_M = rows.get(video, np.empty(0, np.int64))
        row_M = row_M[frame_R[row_M] < len(labels.target_NK)]
        target_MK = labels.target_NK[frame_R[row_M]]
        is_told_M = ~np.isnan(target_MK).all(1)
        row.append(row_M[is_told_M])
        target.append(target_MK[is_told_M])
        part.append(np.full(len(row[-1]), known.protocol.parts.index(labels.part), np.int8))
    part_N = pa.array(known.protocol.parts, pa.string()).take(pa.array(np.concatenate(part)))
    return ProtocolLabels(known.protocol.name, np.concatenate(row), np.concatenate(target), part_N)
