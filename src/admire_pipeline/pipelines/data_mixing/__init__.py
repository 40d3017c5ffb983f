"""The `data_mixing` stage of a step."""

from admire_pipeline.pipelines.data_mixing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
