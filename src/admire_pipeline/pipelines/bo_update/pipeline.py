"""evaluation -> history -> recommendation."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.bo_update.nodes import (
    recommend_mixture,
    record_trial,
    report_step,
    tabulate_history,
)


def create_pipeline() -> Pipeline:
    """End the open trial and say what is now believed best."""
    return Pipeline(
        [
            Node(
                record_trial,
                inputs=["trial", "training_run", "evaluation_table", "score"],
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
                inputs=["finished_trial", "observation", "recommendation", "params:campaign"],
                outputs="step_report",
                name="report_step",
            ),
        ]
    )
