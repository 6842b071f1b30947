"""Samples that cannot be used, and why.

A bad sample is never substituted and never dropped in silence. Its row travels on with empty pixels and a rejection
text; the training loop counts its id like any other, writes the text to the quarantine table and keeps the budget.
"""

from __future__ import annotations

import json
from enum import StrEnum

from pipelines.redaction import redact

_DETAIL_LENGTH = 500  # characters kept of an error message


class Reason(StrEnum):
    """What is wrong with a sample. The values are written into catalogs and tables: never rename one."""

    empty = "empty"  # no bytes
    not_media = "not_media"  # another kind of file, such as an error page saved under the name
    container = "container"  # the file cannot be opened, for example without its index
    no_video = "no_video"  # sound alone
    single_frame = "single_frame"  # a still image
    too_short = "too_short"  # fewer frames than the clip needs, where the policy is to drop
    short_read = "short_read"  # the end is missing
    timestamps = "timestamps"  # frames without increasing times
    format = "format"  # the frame size changes within the video
    no_face = "no_face"  # no face in any frame, where one is needed
    key_points = "key_points"  # eyes, brows, nose or mouth lie outside the picture
    too_small = "too_small"  # fewer pixels than asked for
    duplicate = "duplicate"  # the same pixels or bytes as a sample that is kept
    too_large = "too_large"  # beyond the limits on bytes, pixels or seconds
    timeout = "timeout"  # decoding took longer than allowed
    missing = "missing"  # the object is gone
    changed = "changed"  # the object is not the one in the catalog
    decode = "decode"  # frames that cannot be decoded
    poison = "poison"  # killed its process twice


class SampleError(Exception):
    """One sample cannot be used; the others can."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def short_detail(text: str) -> str:
    """One bounded line without secrets, for a table."""
    return " ".join(redact(text).split())[:_DETAIL_LENGTH]


def rejection(uri: str, error: SampleError) -> str:
    """The text that takes the place of the pixels: a JSON object {uri, reason, detail}."""
    return json.dumps({"uri": uri, "reason": error.reason.value, "detail": short_detail(error.detail)})
