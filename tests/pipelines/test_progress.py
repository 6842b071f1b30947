from __future__ import annotations

import logging

import pytest

from pipelines.progress import progress


def test_a_log_gets_the_count_the_rate_and_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress("probing", 10) as advance:
        for _ in range(5):
            advance(2)
    assert len(caplog.messages) == 1  # the last one; the others came within half a minute
    assert caplog.messages[0].startswith("probing: 10 of 10, ") and caplog.messages[0].endswith(" 0 s left")


def test_a_terminal_gets_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("probing", 10) as advance:
        advance(10)
    shown = capsys.readouterr()
    assert "probing" in shown.err and "10/10" in shown.err
    assert shown.out == ""
