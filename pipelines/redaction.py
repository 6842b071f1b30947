"""Keeping secrets out of whatever is shown or stored."""

from __future__ import annotations

import os
import re

# "token" alone is a word of our own trade (patch tokens); only the kinds that open doors are meant.
_SECRET_WORDS = (
    r"secret|password|passwd|(?:session|security|access|auth|bearer)[_-]?token|api_?key|access_?key|signature"
)
_SECRET_NAME = re.compile(r"(?:SECRET|PASSWORD|PASSWD|TOKEN|KEY|KEY_ID|CREDENTIALS?)$", re.IGNORECASE)
_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_SIGNED_QUERY = re.compile(
    rf"(\b(?:https?|s3)://[^\s?\"'<>]+)\?[^\s\"'<>]*(?:{_SECRET_WORDS}|x-amz-|token=|sig=)[^\s\"'<>]*", re.IGNORECASE
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_ASSIGNMENT = re.compile(
    rf"([\w-]*(?:{_SECRET_WORDS})[\w-]*[\"']?)(\s*[=:]\s*[\"']?)(?!\[redacted\])[^\s\"',&;}}]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` without access keys, passwords, signed query strings and the values of secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "[redacted]")
    text = _USER_INFO.sub(r"\1[redacted]@", text)
    text = _SIGNED_QUERY.sub(r"\1?[redacted]", text)
    text = _KEY_ID.sub("[redacted]", text)
    return _ASSIGNMENT.sub(r"\1\2[redacted]", text)
