"""Mixtures: the constrained simplex, allocation, sampling and packing (numpy only)."""

from admire_pipeline.mixture.allocation import allocate
from admire_pipeline.mixture.packing import pack
from admire_pipeline.mixture.sampling import Draw, draw_sequences
from admire_pipeline.mixture.space import MixtureSpace

__all__ = ["Draw", "MixtureSpace", "allocate", "draw_sequences", "pack"]
