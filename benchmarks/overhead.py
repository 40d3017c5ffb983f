"""What a step takes beside mixing, training and evaluation, as its campaign's history grows.

    python benchmarks/overhead.py [--trials 0,100,1000,5000] [--again 3] [--folder DIR]
    python benchmarks/overhead.py --tracking-uri http://127.0.0.1:5000 --database postgresql://...

In a project of its own, of 20 domains and three models of a second, it runs one step, and fills a
campaign with copies of that trial: the rows that MLflow has of it, with another run id, number,
mixture, model size and metrics each, written into MLflow's database at once, without their
artifacts. Then it runs `kedro run --pipelines=admire_step` several times. Printed are of the first
command, when nobody has read the history yet, as never happens to a campaign that grew step by
step; of the middle one of several on a new machine, which has read nothing itself; of the middle
one of several on a machine that has (`--again`); and of the middle one of several that propose at
random: without a surrogate, what grows is the history's:

- seconds: of the whole command, imports and all; of its mixing, training and evaluation; and the
  overhead, which is the difference;
- the overhead above that of an empty campaign, and as a multiple of it;
- CPU seconds of the whole command, for machines that have other work to do;
- the peak of its memory, all processes together.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import string
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sqlalchemy
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)

from admire_pipeline.mixture import MixtureSpace
from admire_pipeline.pipelines.recipes import hash_recipes
from admire_pipeline.tracking import TrialDraft, run_format
from admire_pipeline.tracking.ledger import LEDGER, Ledger
from admire_pipeline.tracking.store import HISTORY_FOLDER

ROOT = Path(__file__).resolve().parents[1]
ENV = "overhead"
DOMAINS = [f"domain-{number:02d}" for number in range(20)]
WEIGHED = [f"bits_per_byte.{domain}" for domain in DOMAINS[:7]]
SHARES = (0.6, 0.3, 0.1)
"""Of the history's trials, at each model size."""
COMPUTE = ("data_mixing", "fine_tuning", "evaluation")
"""Stages that are no overhead."""
TABLES = [model.__table__ for model in (SqlRun, SqlParam, SqlTag, SqlMetric, SqlLatestMetric)]
BATCH = 500
"""Trials that are written at once."""


@dataclass(frozen=True)
class Cost:
    """What one command took: seconds, and bytes of memory at its peak."""

    whole: float
    compute: float
    processor: float
    memory: float

    @property
    def overhead(self) -> float:
        """Seconds of all but mixing, training and evaluation."""
        return self.whole - self.compute


class Campaign:
    """A campaign in the benchmark's project.

    Args:
        folder: Of the project.
        name: Of the campaign.
        trials: The benchmark's own, of the history.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        with self._catalog() as catalog:
            catalog.load("trials")  # makes the experiment and its ledger
            store = catalog.get("trials").store
            self.client: MlflowClient = store.client
            self.experiment: str = store.experiment
        self._ledger = Ledger(self.client, self._tags()[LEDGER])

    def runs(self) -> dict[int, str]:
        """The run of each trial's number."""
        return self._ledger.read()

    def step(self, *, policy: str = "admire", new: bool = False) -> Cost:
        """Run one step, on a machine that is new to the campaign or not, and measure it."""
        if new:
            shutil.rmtree(self._folder / HISTORY_FOLDER)
        command = ["kedro", "run", "--pipelines=admire_step", "--env", ENV]
        params = f"campaign.name={self._name},search.policy={policy}"
        before, began, memory = _processor_seconds(), time.perf_counter(), 0
        with (self._folder / "output.txt").open("w+") as output:
            process = psutil.Popen(
                [sys.executable, "-m", *command, "--params", params],
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None:
                memory = max(memory, _memory(process))
                time.sleep(0.05)
            seconds = time.perf_counter() - began
            if process.returncode:
                output.seek(0)
                sys.exit(f"the step failed:\n{output.read()}")
        runs = self.runs()
        done = self.client.get_run(runs[max(runs)]).data.metrics
        compute = sum(done[f"seconds.{name}"] for name in _compute_nodes())
        return Cost(seconds, compute, _processor_seconds() - before, memory)

    def fill(self, database: str, like: Run, trials: int) -> None:
        """Write finished trials into the campaign, at once.

        Args:
            database: URI of MLflow's database.
            like: The finished trial that they are copies of.
            trials: How many.
        """
        ledger, rng = self._tags()[LEDGER], np.random.default_rng(trials)
        simplex = MixtureSpace(tuple(DOMAINS))
        drafts = self._drafts()
        loss = f"{run_format.EVAL}bits_per_byte."
        reached = np.array([like.data.metrics[loss + domain] for domain in DOMAINS])
        engine = sqlalchemy.create_engine(database)
        with engine.begin() as connection:
            rows = read_rows(connection, like.info.run_id)
            for start in range(1, trials + 1, BATCH):
                written: dict[str, list[dict[str, Any]]] = {table.name: [] for table in TABLES}
                for number in range(start, min(start + BATCH, trials + 1)):
                    size = int(rng.choice(len(drafts), p=SHARES))
                    weights = simplex.spread(1, rng)[0]
                    mixture = dict(zip(DOMAINS, map(float, weights), strict=True))
                    losses = reached - 0.3 * size - 2 * np.sqrt(weights)
                    losses += 0.05 * rng.normal(size=len(losses))
                    made = copy_trial(
                        rows,
                        replace(drafts[size], mixture=mixture),
                        number,
                        dict(zip(DOMAINS, map(float, losses), strict=True)),
                    )
                    made["runs"][0]["experiment_id"] = int(self.experiment)
                    run_id = made["runs"][0]["run_uuid"]
                    made["params"].append(
                        {"key": f"trial.{number}", "value": run_id, "run_uuid": ledger}
                    )
                    for table, each in made.items():
                        written[table] += each
                for table in TABLES:
                    connection.execute(table.insert(), written[table.name])
        engine.dispose()

    def _drafts(self) -> list[TrialDraft]:
        """A proposal at each model size, without its mixture."""
        with self._catalog() as catalog:
            names = ("corpus", "params:fidelities", "params:evaluation", "params:objective")
            corpus, fidelities, evaluation, objective = map(catalog.load, names)
            recipes = hash_recipes(corpus, fidelities, evaluation, objective, self._folder)
        return [
            TrialDraft(
                mixture={},
                fidelity=name,
                cost=fidelity.cost,
                policy="admire",
                phase="search",
                acquisition_value=None,
                based_on=(),
                campaign_seed=0,
                recipe=recipes[name],
            )
            for name, fidelity in fidelities.root.items()
        ]

    def _tags(self) -> Mapping[str, str]:
        tags: Mapping[str, str] = self.client.get_experiment(self.experiment).tags
        return tags

    @contextmanager
    def _catalog(self) -> Iterator[Any]:
        params = {"campaign": {"name": self._name}}
        with KedroSession.create(self._folder, env=ENV, runtime_params=params) as session:
            yield session.load_context().catalog  # type: ignore[attr-defined]


def read_rows(connection: sqlalchemy.Connection, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """What MLflow's database holds of a run, by table."""
    return {
        table.name: [
            dict(row)
            for row in connection.execute(
                sqlalchemy.select(table).where(table.c.run_uuid == run_id)
            ).mappings()
        ]
        for table in TABLES
    }


def copy_trial(
    rows: Mapping[str, list[dict[str, Any]]],
    draft: TrialDraft,
    number: int,
    losses: Mapping[str, float],
) -> dict[str, list[dict[str, Any]]]:
    """Rows of another finished trial, made from those of one.

    Args:
        rows: Of the one.
        draft: What the other was proposed as.
        number: Its number in the campaign.
        losses: Bits per byte that it has reached on each domain.
    """
    metrics = {f"bits_per_byte.{domain}": loss for domain, loss in losses.items()}
    changed: dict[str, dict[str, Any]] = {
        "params": {
            run_format.PROPOSAL: run_format.write_proposal(draft),
            "fidelity": draft.fidelity,
            "expected_cost": repr(draft.cost),
            **{f"mixture.{domain}": repr(weight) for domain, weight in draft.mixture.items()},
        },
        "tags": {
            run_format.NUMBER: str(number),
            "mlflow.runName": f"{run_format.draft_name(number)}-{draft.fidelity}",
        },
        "latest_metrics": {
            "cost": draft.cost,
            "score": -sum(metrics[name] for name in WEIGHED) / len(WEIGHED),
            **{f"{run_format.EVAL}{name}": value for name, value in metrics.items()},
        },
    }
    changed["metrics"] = changed["latest_metrics"]
    run_id = uuid.uuid4().hex
    copies = {
        table: [
            row | {"run_uuid": run_id} | ({"value": new[row["key"]]} if row["key"] in new else {})
            for row in rows[table]
        ]
        for table, new in changed.items()
    }
    [run] = rows["runs"]
    name = changed["tags"]["mlflow.runName"]
    uri = run["artifact_uri"].replace(run["run_uuid"], run_id)
    copies["runs"] = [run | {"run_uuid": run_id, "name": name, "artifact_uri": uri}]
    return copies


def make_project(folder: Path, tracking_uri: str | None) -> None:
    """Write the project: the base config, 20 small domains, three models of a second."""
    shutil.copytree(ROOT / "conf" / "base", folder / "conf" / "base")
    (folder / "conf" / "local").mkdir()
    (folder / "src").mkdir()  # kedro wants one; the package is the installed one
    for name in ("pyproject.toml", ".telemetry", "conf/logging.yml"):
        shutil.copy(ROOT / name, folder / name)
    texts = folder / "data" / "01_raw"
    texts.mkdir(parents=True)
    source = random.Random(0)  # noqa: S311
    for number, domain in enumerate(DOMAINS):
        letters = string.ascii_lowercase[number % 20 :][:6]
        lines = [
            " ".join("".join(source.choices(letters, k=source.randint(2, 8))) for _ in range(24))
            for _ in range(160)
        ]
        (texts / f"{domain}.txt").write_text("\n".join(lines))
    model = {"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = {"tokens": 8192, "sequence_length": 64, "batch_size": 8, "learning_rate": 0.01}
    parameters = {
        "campaign": {"name": "warm-up", "budget": 1e6, "seed": 0, "tracking_uri": tracking_uri},
        "evaluation": {"batch_size": 16, "max_bytes": 2048, "curve_bytes": 256},
        "objective": {"weights": dict.fromkeys(WEIGHED, 1)},
        "fidelities": {
            name: {
                "cost": cost,
                "model": {
                    "config": {**model, "hidden_size": width, "intermediate_size": 2 * width}
                },
                "training": {**recipe, "evaluations": 2},
            }
            for name, width, cost in (("tiny", 8, 0.02), ("small", 16, 0.2), ("large", 24, 1.0))
        },
    }
    corpus = {
        "type": "admire_pipeline.training.catalog.CorpusDataset",
        "filepath": "data/05_model_input/corpus",
        "validation_fraction": 0.2,
        "passage_bytes": 256,
        "workers": 1,
        "domains": {d: {"path": f"data/01_raw/{d}.txt", "document": "line"} for d in DOMAINS},
    }
    conf = folder / "conf" / ENV
    conf.mkdir()
    (conf / "parameters.yml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    (conf / "catalog.yml").write_text(yaml.safe_dump({"corpus": corpus}, sort_keys=False))


def _compute_nodes() -> set[str]:
    """Names of the nodes that mix, train and evaluate."""
    names = {
        stage: {node.name for node in pipelines[stage].nodes}
        for stage in (*COMPUTE, "proposal", "bo_update")
    }
    return set.union(*(names[stage] for stage in COMPUTE)) - names["proposal"] - names["bo_update"]


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(process: psutil.Process) -> int:
    memory = 0
    try:
        for each in (process, *process.children(recursive=True)):
            memory += each.memory_info().rss
    except psutil.Error:  # one of them has ended meanwhile
        pass
    return memory


def describe(cost: Cost, empty: Cost) -> str:
    """One line about a command."""
    more, times = cost.overhead - empty.overhead, cost.overhead / empty.overhead
    return (
        f"whole {cost.whole:6.2f} s  mixing, training, evaluation {cost.compute:6.2f} s"
        f"  overhead {cost.overhead:6.2f} s ({more:+6.2f} s, x {times:.2f})"
        f"  CPU {cost.processor:6.2f} s  memory {cost.memory / 2**20:5.0f} MB"
    )


def middle(costs: Iterable[Cost]) -> Cost:
    """The one with the median overhead: what is trained and proposed differs from step to step."""
    ordered = sorted(costs, key=lambda cost: cost.overhead)
    return ordered[len(ordered) // 2]


def measure(folder: Path, tracking_uri: str | None, database: str, arguments: Any) -> None:
    """Measure each length of the history and print."""
    make_project(folder, tracking_uri)
    bootstrap_project(folder)
    warm_up = Campaign(folder, "warm-up")
    warm_up.step()
    [run_id] = warm_up.runs().values()
    like = warm_up.client.get_run(run_id)
    empty: list[Cost] = []
    for trials in map(int, arguments.trials.split(",")):
        campaign = Campaign(folder, f"overhead-{trials}")
        began = time.perf_counter()
        if trials:
            campaign.fill(database, like, trials)
        filled = time.perf_counter() - began
        costs = [
            campaign.step(),
            middle(campaign.step(new=True) for _ in range(arguments.again)),
            middle(campaign.step() for _ in range(arguments.again)),
            middle(campaign.step(policy="random") for _ in range(arguments.again)),
        ]
        if (numbers := max(campaign.runs())) != trials + 1 + 3 * arguments.again:
            sys.exit(f"the campaign has {numbers} trials: not all were seen")
        empty = empty or costs
        print(f"{trials} trials (written in {filled:.0f} s)")  # noqa: T201
        for name, cost, none in zip(("first", "new", "again", "random"), costs, empty, strict=True):
            print(f"  {name:7s} {describe(cost, none)}", flush=True)  # noqa: T201


def main() -> None:
    """Read the options, make the project where it is wanted and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="0,100,1000,5000", help="lengths of the history")
    parser.add_argument(
        "--again", type=int, default=3, help="commands on a machine of each kind, an odd number"
    )
    parser.add_argument("--folder", type=Path, help="new folder that keeps the project")
    parser.add_argument("--tracking-uri", help="of an MLflow server; else SQLite in the project")
    parser.add_argument("--database", help="URI of that server's database, which is filled")
    arguments = parser.parse_args()
    if arguments.again < 1 or arguments.again % 2 == 0:
        parser.error("--again: allowed: an odd number, of which the middle one counts")
    if arguments.tracking_uri and not arguments.database:
        parser.error("--tracking-uri needs --database: the history is written into it")
    with tempfile.TemporaryDirectory() as aside:
        folder = arguments.folder or Path(aside) / "project"
        folder.mkdir(parents=True)
        (folder / "conf").mkdir()
        local = f"sqlite:///{folder.resolve()}/data/mlflow/mlflow.db"
        measure(folder, arguments.tracking_uri, arguments.database or local, arguments)


if __name__ == "__main__":
    main()
