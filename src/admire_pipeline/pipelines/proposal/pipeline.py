"""history -> proposal."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.proposal.nodes import prepare_space, propose_trial
from admire_pipeline.pipelines.recipes import recipes_node
from admire_pipeline.pipelines.warm_start import warm_start_node


def create_pipeline() -> Pipeline:
    """Open the next trial, or take up an interrupted one."""
    return Pipeline(
        [
            recipes_node(),
            warm_start_node(),
            Node(
                prepare_space,
                inputs=[
                    "corpus",
                    "trials",
                    "params:search",
                    "params:fidelities",
                    "params:evaluation",
                    "params:objective",
                    "recipes",
                    "warm_start",
                    "project_folder",
                ],
                outputs="space",
                name="prepare_space",
            ),
            Node(
                propose_trial,
                # In this order: at its turn a worker sees all that was proposed before.
                inputs=[
                    "space",
                    "interrupted_trial",
                    "trials",
                    "corpus",
                    "params:campaign",
                    "params:worker",
                    "params:search",
                    "params:fidelities",
                    "params:evaluation",
                    "recipes",
                    "warm_start",
                    "project_folder",
                ],
                outputs="trial",
                name="propose_trial",
            ),
        ]
    )
