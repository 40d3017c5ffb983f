"""mixture -> model."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.fine_tuning.nodes import plot_curves, train_model
from admire_pipeline.pipelines.recipes import recipes_node


def create_pipeline() -> Pipeline:
    """Train the open trial's model on its planned data."""
    return Pipeline(
        [
            recipes_node(),
            Node(
                train_model,
                inputs=[
                    "trial",
                    "mixing_plan",
                    "corpus",
                    "trial_folder",
                    "curves",
                    "params:fidelities",
                    "params:evaluation",
                    "recipes",
                    "project_folder",
                ],
                outputs="training_run",
                name="train_model",
            ),
            Node(
                plot_curves,
                inputs=["trial", "training_run"],
                outputs="curves_figure",
                name="plot_curves",
            ),
        ]
    )
