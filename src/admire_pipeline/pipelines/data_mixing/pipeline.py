"""proposal -> mixture."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.data_mixing.nodes import plan_mixture, plot_mixture, sample_texts
from admire_pipeline.pipelines.recipes import recipes_node


def create_pipeline() -> Pipeline:
    """Plan the open trial's training data and show it."""
    return Pipeline(
        [
            recipes_node(),
            Node(
                plan_mixture,
                inputs=["trial", "corpus", "params:fidelities", "recipes"],
                outputs="mixing_plan",
                name="plan_mixture",
            ),
            Node(
                sample_texts,
                inputs=["mixing_plan", "corpus", "params:mixing"],
                outputs="text_samples",
                name="sample_texts",
            ),
            Node(
                plot_mixture,
                inputs=["trial", "mixing_plan"],
                outputs="mixture_figure",
                name="plot_mixture",
            ),
        ]
    )
