"""run table -> curves -> report."""

from kedro.pipeline import Node, Pipeline

from admire_pipeline.pipelines.benchmark.nodes import (
    log_benchmark,
    plan_benchmark,
    replay_policies,
    report_benchmark,
)


def create_pipeline() -> Pipeline:
    """Replay policies on a run table, compare them, draw and log the comparison."""
    return Pipeline(
        [
            Node(
                plan_benchmark,
                inputs=["params:benchmark", "benchmark_store"],
                outputs="benchmark_plan",
                name="plan_benchmark",
            ),
            Node(
                replay_policies,
                inputs=["benchmark_plan", "params:benchmark"],
                outputs="benchmark_outcome",
                name="replay_policies",
            ),
            Node(
                report_benchmark,
                inputs=["benchmark_plan", "benchmark_outcome"],
                outputs="benchmark_files",
                name="report_benchmark",
            ),
            Node(
                log_benchmark,
                inputs=[
                    "benchmark_plan",
                    "benchmark_outcome",
                    "benchmark_files",
                    "params:benchmark",
                    "benchmark_store",
                ],
                outputs="benchmark_report",
                name="log_benchmark",
            ),
        ]
    )
