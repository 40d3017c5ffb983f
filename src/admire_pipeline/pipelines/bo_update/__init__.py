"""The `bo_update` stage of a step."""

from admire_pipeline.pipelines.bo_update.pipeline import create_pipeline

__all__ = ["create_pipeline"]
