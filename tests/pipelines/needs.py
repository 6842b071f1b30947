"""What some tests need and not every machine has."""

from __future__ import annotations

import pytest

from pipelines.face_mesh import FaceMeshUnavailable, require_mediapipe


def _why_not() -> str:
    try:
        require_mediapipe()
    except FaceMeshUnavailable as error:
        return str(error)
    return ""


_REASON = _why_not()
needs_mediapipe = pytest.mark.skipif(bool(_REASON), reason=_REASON)
