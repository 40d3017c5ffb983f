"""Mixtures: the constrained simplex, token allocation and sequence sampling (numpy only)."""

from admire_pipeline.mixture.allocation import allocate
from admire_pipeline.mixture.sampling import Draw, draw_sequences
from admire_pipeline.mixture.space import MixtureSpace

__all__ = ["Draw", "MixtureSpace", "allocate", "draw_sequences"]
