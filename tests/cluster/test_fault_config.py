"""Plans of faults: read from text, refused where they make no sense."""

from __future__ import annotations

import pytest

from cluster.fault_config import DRIVER, Fault, FaultPlan, parse_fault


def test_a_fault_is_read_from_text() -> None:
    assert parse_fault("kill:rank=1,step=3,phase=update,count=2") == Fault("kill", 1, 3, "update", count=2)
    assert parse_fault("kill:rank=-1,step=3,phase=update").rank == DRIVER
    assert parse_fault("delay_upload:phase=commit,rank=0,step=6,seconds=0.5").seconds == 0.5
    assert FaultPlan(("raise:rank=0,step=0,phase=setup",)).faults == (Fault("raise", 0, 0, "setup"),)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("explode:rank=0,step=1,phase=update", "kill, stop, raise, nan, fail_upload, delay_upload"),
        ("kill:rank=0,step=1,phase=lunch", "setup, forward, backward, update, mark, write, commit, retain"),
        ("nan:rank=0,step=1,phase=update", "forward, backward"),
        ("fail_upload:rank=0,step=1,phase=forward", "write, commit"),
        ("delay_upload:rank=0,step=1,phase=retain,seconds=1", "write, commit"),
        ("delay_upload:rank=0,step=1,phase=write", "seconds"),
        ("kill:rank=0,step=1,phase=write,seconds=1", "seconds"),
        ("kill:rank=1,step=1,phase=commit", "rank 0"),
        ("kill:rank=1,step=1,phase=retain", "rank 0"),
        ("kill:rank=-1,step=1,phase=forward", "driver"),
        ("stop:rank=-1,step=1,phase=update", "driver"),
        ("kill:rank=-2,step=1,phase=update", "-1"),
        ("kill:rank=0,step=0,phase=update", "from 1"),
        ("kill:rank=0,step=-1,phase=setup", "from 0"),
        ("kill:rank=0,step=1,phase=update,count=0", "count=0"),
        ("kill:rank=0,step=1", "phase not given"),
        ("kill", "rank, step, phase not given"),
        ("kill:rank=0,rank=1,step=1,phase=update", "'rank'"),
        ("kill:rank=0,step=1,phase=update,when=now", "'when' is none of rank, step, phase, count, seconds"),
        ("kill:rank=first,step=1,phase=update", "first"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_what_does(spec: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        FaultPlan((spec,))
    assert repr(spec) in str(refused.value) and told in str(refused.value)


def test_a_fault_planned_twice_is_refused() -> None:
    spec = "kill:rank=0,step=1,phase=update"
    with pytest.raises(ValueError, match="kill-0-1-update twice"):
        FaultPlan((spec, spec + ",count=2"))
