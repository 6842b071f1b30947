"""Log lines as they are shown: without secrets, and short where they travel."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from pipelines.storage import redact

_CALLS, _LINES = 3, 16  # of a traceback that travels; the whole is long when errors follow from errors


class RedactingFormatter(logging.Formatter):
    """A log line, its traceback included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class ShortFormatter(RedactingFormatter):
    """With the end of the traceback alone."""

    def formatException(self, ei: Any) -> str:
        lines = "".join(traceback.format_exception(*ei, limit=-_CALLS)).splitlines()
        return "\n".join(lines[-_LINES:])
