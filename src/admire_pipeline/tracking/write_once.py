"""What only one of several workers can write: MLflow refuses to change a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def write_once(
    client: MlflowClient, run_id: str, key: str, value: str, tags: Mapping[str, str] | None = None
) -> bool:
    """Write a parameter of a run unless another value stands there already.

    The one who is told True is the only one, however many try at once: the database has one row for
    a parameter of a run. A request that is sent twice, because its answer was lost, is told True.

    Args:
        client: Of the tracking server.
        run_id: The run.
        key: The parameter.
        value: Up to 6,000 characters, no two workers with the same.
        tags: Written with it.

    Returns:
        Whether this value stands there; not in a run that was deleted.

    Raises:
        MlflowException: If the server did not take it for another reason.
    """
    from mlflow.entities import Param, RunTag
    from mlflow.exceptions import MlflowException

    entities = [RunTag(name, text) for name, text in (tags or {}).items()]
    try:
        client.log_batch(run_id, params=[Param(key, value)], tags=entities, synchronous=True)
    except MlflowException:
        # A refusal, or two that met in the database, which has kept one of them.
        run = client.get_run(run_id)
        stands = run.data.params.get(key)
        if stands is None and run.info.lifecycle_stage == "active":
            raise
        return bool(stands == value)
    return True
