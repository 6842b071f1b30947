"""What has no features and why: one file for each video that has such, one table for all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipelines.quarantine import short_detail
from pipelines.storage import Storage

REJECTED, QUARANTINE = "rejected", "quarantine.jsonl"


def rejected(video: str, uri: str, reason: str, detail: str, frame: int | None = None) -> dict[str, Any]:
    """One line of the table. `frame` counts from 0; None: the whole video."""
    return {"video": video, "frame": frame, "uri": uri, "reason": str(reason), "detail": short_detail(detail)}


def write_rejections(place: Storage, video: str, found: Sequence[dict[str, Any]]) -> None:
    """Before the features of the video: who finds these finds why some are missing."""
    if found:
        place.write(f"{REJECTED}/{video}.json", json.dumps(list(found)).encode())


def read_rejections(place: Storage) -> list[dict[str, Any]]:
    """Of all videos, by name."""
    names = [item.name for item in place.list(REJECTED) if item.name.endswith(".json")]
    return [one for name in names for one in json.loads(place.read(name))]
