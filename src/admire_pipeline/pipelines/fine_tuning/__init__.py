"""The `fine_tuning` stage of a step."""

from admire_pipeline.pipelines.fine_tuning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
