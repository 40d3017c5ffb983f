"""What a campaign's history must hold, whatever was done to its workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from mlflow import MlflowClient

from admire_pipeline.tracking.lease import OWNER
from admire_pipeline.tracking.ledger import LEDGER
from admire_pipeline.tracking.run_format import NUMBER
from tests.chaos import Fault

CURVES = ("train.", "validation.")
"""How the metrics of curves begin: one point at a step."""


def runs_of(client: MlflowClient, campaign: str = "test") -> list[Any]:
    """The runs of a campaign; none where there is no such campaign yet."""
    experiment = client.get_experiment_by_name(campaign)
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def ledger_of(client: MlflowClient, campaign: str = "test") -> dict[int, str]:
    """The run of each number."""
    experiment = client.get_experiment_by_name(campaign)
    assert experiment is not None
    params = client.get_run(experiment.tags[LEDGER]).data.params
    return {int(key.removeprefix("trial.")): run_id for key, run_id in params.items()}


def tried(run: Any) -> tuple[tuple[str, str], ...]:
    """What a trial is: its mixture and its size."""
    return tuple(
        sorted(p for p in run.data.params.items() if p[0].startswith(("mixture", "fidel")))
    )


def is_held_by(run: Any, pid: int) -> bool:
    """Whether the process has made the run, and nobody has taken it over."""
    taken = any(key.startswith("lease.") for key in run.data.params)
    return not taken and run.data.tags.get(OWNER, "").split("|")[1:2] == [str(pid)]


def tally(
    client: MlflowClient,
    fault: Fault,
    campaign: str = "test",
    failed: Collection[str] = (),
    runs: Sequence[Any] | None = None,
    in_flight: int = 0,
) -> list[Any]:
    """Count what is lost, and what is there twice, of a campaign in which nobody works any more.

    Args:
        client: Of its store.
        fault: What was done.
        campaign: Its name.
        failed: Runs that were to end FAILED.
        runs: Its runs, where they were fetched before.
        in_flight: How many workers of a run may have been suspended while they sent a step of its
            curves, which MLflow then takes late: nothing can call that one request back.

    Returns:
        Its runs in the order of their proposals.
    """
    runs = runs_of(client, campaign) if runs is None else runs
    ledger = ledger_of(client, campaign)
    for run in runs:
        fails = run.info.run_id in failed
        fault.lost += run.info.status != ("FAILED" if fails else "FINISHED")
        fault.lost += ("score" in run.data.metrics) == fails
        # What was paid for is in the history, and once.
        paid, price = run.data.metrics.get("cost", 0.0), float(run.data.params["expected_cost"])
        fault.lost += paid < price
        fault.duplicated += paid > price
        # Who takes a trial up after its score logs the same one: nothing is measured again.
        points = client.get_metric_history(run.info.run_id, "score")
        fault.duplicated += max(0, len({point.value for point in points}) - 1)
        twice: set[int] = set()
        for name in run.data.metrics:
            if name.startswith(CURVES):
                points = client.get_metric_history(run.info.run_id, name)
                seen = Counter(point.step for point in points)
                twice |= {step for step, count in seen.items() if count > 1}
        fault.duplicated += max(0, len(twice) - in_flight)
    fault.lost += len(set(ledger.values()) - {run.info.run_id for run in runs})
    fault.duplicated += len(runs) - len(set(ledger.values()))
    fault.duplicated += sum(count - 1 for count in Counter(map(tried, runs)).values())
    for run in runs:
        assert ledger[int(run.data.tags[NUMBER])] == run.info.run_id
    return sorted(runs, key=lambda run: int(run.data.tags[NUMBER]))
