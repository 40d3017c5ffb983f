"""The `benchmark` pipeline: policies compared on finished runs."""

from admire_pipeline.pipelines.benchmark.pipeline import create_pipeline

__all__ = ["create_pipeline"]
