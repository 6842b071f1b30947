from __future__ import annotations

import json
import pickle

from pipelines.quarantine import Reason, SampleError, rejection


def test_a_rejection_names_the_object_the_reason_and_the_detail() -> None:
    text = rejection("dev/a.mp4", SampleError(Reason.short_read, "48 of 100 frames"))
    assert json.loads(text) == {"uri": "dev/a.mp4", "reason": "short_read", "detail": "48 of 100 frames"}


def test_a_detail_is_one_bounded_line_without_secrets() -> None:
    detail = "line\n" * 1000 + "x"
    fields = json.loads(rejection("a", SampleError(Reason.decode, "api_key=CANARY1234\n" + detail)))
    assert "CANARY" not in fields["detail"] and "\n" not in fields["detail"] and len(fields["detail"]) == 500


def test_a_sample_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(SampleError(Reason.empty, "no bytes")))
    assert (error.reason, error.detail, str(error)) == (Reason.empty, "no bytes", "empty: no bytes")
