"""The `proposal` stage of a step."""

from admire_pipeline.pipelines.proposal.pipeline import create_pipeline

__all__ = ["create_pipeline"]
