"""The project's pipelines, by name."""

from kedro.pipeline import Pipeline

from admire_pipeline.pipelines import (
    benchmark,
    bo_update,
    data_mixing,
    evaluation,
    fine_tuning,
    proposal,
)


def register_pipelines() -> dict[str, Pipeline]:
    """Each stage by its name, `admire_step`: one whole step of a campaign, and `benchmark`."""
    stages = {
        "proposal": proposal.create_pipeline(),
        "data_mixing": data_mixing.create_pipeline(),
        "fine_tuning": fine_tuning.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "bo_update": bo_update.create_pipeline(),
    }
    step = sum(stages.values(), start=Pipeline([]))
    return {
        "__default__": step,
        "admire_step": step,
        **stages,
        "benchmark": benchmark.create_pipeline(),
    }
