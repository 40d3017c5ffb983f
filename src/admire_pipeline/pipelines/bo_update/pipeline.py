"""evaluation -> history -> recommendation."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.bo_update.nodes import (
    finish_step,
    recommend_mixture,
    record_trial,
    report_step,
    tabulate_history,
)
from admire_pipeline.pipelines.recipes import recipes_node
from admire_pipeline.pipelines.warm_start import warm_start_node


def create_pipeline() -> Pipeline:
    """End the open trial and say what is now recommended."""
    return Pipeline(
        [
            recipes_node(),
            warm_start_node(),
            Node(
                record_trial,
                inputs=["trial", "training_run", "evaluation_table", "score", "recipes"],
                outputs="observation",
                name="record_trial",
            ),
            Node(
                recommend_mixture,
                inputs=[
                    "observation",
                    "corpus",
                    "params:campaign",
                    "params:search",
                    "params:fidelities",
                    "params:evaluation",
                    "params:objective",
                    "recipes",
                    "warm_start",
                ],
                outputs="recommendation",
                name="recommend_mixture",
            ),
            Node(
                tabulate_history,
                inputs="observation",
                outputs="trials_table",
                name="tabulate_history",
            ),
            Node(
                report_step,
                inputs=[
                    "trial",
                    "observation",
                    "recommendation",
                    "params:campaign",
                    "params:fidelities",
                ],
                outputs="step_report",
                name="report_step",
            ),
            Node(
                finish_step,
                # The table is not read: it must be written before the trial ends.
                inputs=["step_report", "trials_table"],
                outputs="finished_step",
                name="finish_step",
            ),
        ]
    )
