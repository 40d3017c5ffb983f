"""The `evaluation` stage of a step."""

from admire_pipeline.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
