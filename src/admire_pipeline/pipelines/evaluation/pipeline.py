"""model -> evaluation."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.evaluation.nodes import evaluate_model, score_trial
from admire_pipeline.pipelines.recipes import recipes_node


def create_pipeline() -> Pipeline:
    """Evaluate and score the open trial's model."""
    return Pipeline(
        [
            recipes_node(),
            Node(
                evaluate_model,
                inputs=[
                    "trial",
                    "training_run",
                    "corpus",
                    "trial_folder",
                    "curves",
                    "project_folder",
                    "params:fidelities",
                    "params:evaluation",
                    "recipes",
                ],
                outputs=["evaluation_table", "harness_results"],
                name="evaluate_model",
            ),
            Node(
                score_trial,
                inputs=["evaluation_table", "params:objective"],
                outputs="score",
                name="score_trial",
            ),
        ]
    )
