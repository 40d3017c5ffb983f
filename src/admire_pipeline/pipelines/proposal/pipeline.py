"""history -> proposal."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.proposal.nodes import propose_trial
from admire_pipeline.pipelines.recipes import recipes_node
from admire_pipeline.pipelines.warm_start import warm_start_node


def create_pipeline() -> Pipeline:
    """Open the next trial, or take up an interrupted one."""
    return Pipeline(
        [
            recipes_node(),
            warm_start_node(),
            Node(
                propose_trial,
                # The corpus comes first: bad data ends the step before a trial is touched.
                inputs=[
                    "corpus",
                    "interrupted_trial",
                    "trials",
                    "params:campaign",
                    "params:search",
                    "params:fidelities",
                    "params:evaluation",
                    "params:objective",
                    "recipes",
                    "warm_start",
                    "project_folder",
                ],
                outputs="trial",
                name="propose_trial",
            ),
        ]
    )
