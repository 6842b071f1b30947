"""Checks of the values of tensors, which an accelerator must not be kept waiting for."""

from __future__ import annotations

import torch
from torch import Tensor


def is_broken(rule: str, broken_B: Tensor) -> bool:
    """Whether any row breaks a rule, for the caller to raise an error that says where and how.

    On CUDA the host does not wait for the answer, which would idle the device once per check: it is always False, and
    a broken rule ends the process at the device's next synchronisation with an assertion that quotes it.
    """
    if broken_B.device.type == "cuda":
        torch._assert_async(~broken_B.any(), rule)
        return False
    return bool(broken_B.any())
