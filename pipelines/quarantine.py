"""Samples that cannot be used: why, where that is written down, and how many a run puts up with.

A bad sample is never substituted and never dropped in silence. Its row travels on with empty pixels and a rejection
text, its id is counted like any other, and a line of the quarantine table says what was wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from pipelines.storage import Storage, redact

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


class BudgetExceeded(Exception):
    """More samples are bad than a sound corpus explains."""


def short_detail(text: str) -> str:
    """One bounded line without secrets, for a table."""
    return " ".join(redact(text).split())[:_DETAIL_LENGTH]


def rejection(uri: str, error: SampleError) -> str:
    """The text that takes the place of the pixels: a JSON object {uri, reason, detail}."""
    return json.dumps({"uri": uri, "reason": error.reason.value, "detail": short_detail(error.detail)})


@dataclass(frozen=True)
class QuarantineRow:
    """One line of the table."""

    sample_id: int
    uri: str
    reason: Reason
    detail: str
    epoch: int

    @classmethod
    def from_rejection(cls, text: str, *, sample_id: int, epoch: int) -> QuarantineRow:
        """Raises ValueError for a text that `rejection` did not write."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or set(fields) != {"uri", "reason", "detail"}:
            raise ValueError(f"{text!r} is no rejection: a JSON object of uri, reason and detail is expected")
        return cls(int(sample_id), fields["uri"], Reason(fields["reason"]), fields["detail"], int(epoch))


def write_table(storage: Storage, name: str, rows: Iterable[QuarantineRow]) -> None:
    """Writes the whole table, one JSON object per line. Its length is bounded by the budget."""
    storage.write(name, "".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())


def read_table(storage: Storage, name: str) -> list[QuarantineRow]:
    rows = map(json.loads, storage.read(name).decode().splitlines())
    return [QuarantineRow(**{**row, "reason": Reason(row["reason"])}) for row in rows]


@dataclass(frozen=True)
class BudgetConfig:
    """Bad samples that one epoch may hold."""

    fraction: float = 0.005
    """Share of the samples of the epoch."""
    at_least: int = 10
    """Allowed however small the epoch is."""
    in_a_row: int = 50
    """This many without a good one between them mean that something else is broken."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.fraction <= 1.0:
            raise ValueError(f"fraction={self.fraction} must lie in [0, 1]")
        if self.at_least < 0 or self.in_a_row < 1:
            raise ValueError(f"at_least={self.at_least} must not be negative and in_a_row={self.in_a_row} be positive")

    def allowed(self, samples: int) -> int:
        """Bad samples allowed in an epoch of `samples`."""
        return max(self.at_least, int(self.fraction * samples))


class Budget:
    """Counts the samples of one epoch against a BudgetConfig."""

    def __init__(self, config: BudgetConfig, *, samples: int, table: str, rejected: int = 0) -> None:
        """`samples` of the epoch, of which `rejected` were counted before a resume; `table` is named in the error."""
        self.config = config
        self.samples = samples
        self.table = table
        self.rejected = rejected
        self._in_a_row = 0

    def count(self, is_rejected: bool) -> None:
        """Counts one sample, in the order of reading. Raises BudgetExceeded on the first one too many."""
        if not is_rejected:
            self._in_a_row = 0
            return
        self.rejected += 1
        self._in_a_row += 1
        allowed = self.config.allowed(self.samples)
        if self.rejected > allowed:
            problem = f"{self.rejected} of {self.samples} samples of this epoch are bad, {allowed} are allowed"
        elif self._in_a_row >= self.config.in_a_row:
            problem = f"{self._in_a_row} samples in a row are bad ({self.rejected} of {self.samples} so far)"
        else:
            return
        raise BudgetExceeded(f"{problem}; the reasons are in {self.table}")
