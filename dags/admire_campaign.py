"""A campaign in Airflow 3 (docs/scheduling.md).

`admire_campaign` runs many steps and reports; `admire_step` runs one step at every tick of its
schedule. All compute is done by `kedro` in the project's own environment: Airflow needs none of it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowSkipException

PARALLELISM = (1, 2, 4, 8, 16)
"""Steps at once that a run may ask for. Airflow takes the limit of a task from this file, not from
a run's params: so each of these is a task of its own, and a run expands one of them."""

SPENT = "its budget is spent"
"""In the last line of a step that had nothing to do."""

RETRY_DELAY = timedelta(seconds=float(os.environ.get("ADMIRE_RETRY_SECONDS", "300")))
"""Airflow's own setting, default_task_retry_delay, does not reach mapped tasks (3.3.2)."""

# What a run is given reaches the shell as values of variables, never as part of the command. The
# patterns count all the same: Airflow renders the templates of a `@task.bash` twice.
PARAMS = {
    "env": Param(
        None,
        type=["null", "string"],
        pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$",
        maxLength=100,
        description="Kedro environment, a folder of conf/; none: the worker's KEDRO_ENV, else base",
    ),
    "budget": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        description="What the campaign may spend, in trainings of the target; none: as configured",
    ),
}
KEDRO = {
    "cwd": "{{ var.value.admire_project }}",
    "env": {
        "ADMIRE_KEDRO": "{{ var.value.get('admire_kedro', 'kedro') }}",
        "ADMIRE_ENV": "{{ params.env or '' }}",
        "ADMIRE_BUDGET": "{{ params.budget or '' }}",
    },
    "append_env": True,
}


def kedro(arguments: str) -> str:
    """A `kedro` command of the project's environment with the run's environment and budget."""
    return (
        f'PATH="$PWD/.venv/bin:$PATH" && exec "$ADMIRE_KEDRO" {arguments} '
        '${ADMIRE_ENV:+--env "$ADMIRE_ENV"} '
        '${ADMIRE_BUDGET:+--params "campaign.budget=$ADMIRE_BUDGET"}'
    )


@task.bash(**KEDRO, retries=3, retry_delay=RETRY_DELAY)
def step(ti: Any, number: int = 1) -> str:
    """One step of the campaign; a retry finishes the trial that the try before had begun.

    Args:
        ti: Airflow's task instance.
        number: Of the step in its run; only expanded over.
    """
    said = ti.xcom_pull(task_ids=ti.task_id)  # by the steps of this run so far
    if any(SPENT in str(line) for line in (said if isinstance(said, list) else [said])):
        raise AirflowSkipException(SPENT)
    return kedro("run --pipelines=admire_step")


with DAG(
    "admire_campaign",
    description="Steps of a campaign until they are done or its budget is spent, then its report",
    schedule=None,
    params=PARAMS
    | {
        "steps": Param(10, type="integer", minimum=1, maximum=1000, description="At most so many"),
        "parallelism": Param(
            1, type="integer", enum=list(PARALLELISM), description="So many steps at once"
        ),
    },
    tags=["admire"],
):

    @task
    def numbers(params: dict[str, Any]) -> list[int]:
        """The steps of this run."""
        return list(range(1, params["steps"] + 1))

    @task.branch
    def limit(params: dict[str, Any]) -> str:
        """The task whose limit is the run's parallelism."""
        return f"steps_{params['parallelism']}_at_once"

    @task.bash(**KEDRO, trigger_rule="all_done")
    def report() -> str:
        """What the campaign recommends, however its steps went; fails where nothing is known."""
        return kedro("admire report")

    @task(trigger_rule="none_failed")
    def all_steps() -> None:
        """Fails where a step has failed: a run's state is that of its last tasks alone."""

    counted = numbers()
    steps = [
        step.override(task_id=f"steps_{most}_at_once", max_active_tis_per_dagrun=most).expand(
            number=counted
        )
        for most in PARALLELISM
    ]
    limit() >> steps
    steps >> report()
    steps >> all_steps()


with DAG(
    "admire_step",
    description="One step of a campaign at every tick of ADMIRE_SCHEDULE",
    schedule=os.environ.get("ADMIRE_SCHEDULE", "@hourly") or None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["admire"],
):
    step()
