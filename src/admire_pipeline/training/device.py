"""What the machine's GPU can do, for training and evaluation alike."""

from __future__ import annotations


def has_bf16() -> bool:
    """Whether there is a GPU that computes in bfloat16; one that emulates it is slower with it."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
