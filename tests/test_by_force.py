"""Workers killed at random, alone and many at once: each trial is finished once, in its own run."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from admire_pipeline.tracking.lease import OWNER, epoch_of
from tests.chaos import Chaos, Fault
from tests.conftest import Project
from tests.histories import runs_of, tally
from tests.servers import MlflowServer
from tests.test_crash import mlflow_client, wait_for

STEP = re.compile(r"step \d+(?:/\d+)? +(trial-\d+-\w+) +score (\S+) +cost (\S+) +spent (\S+)/")
REPORT = re.compile(r"budget +spent (\S+) of \S+ in (\d+) trials")
NANO, SMALL = 0.25, 1.0
"""What trials of the test's sizes cost."""


class Workers:
    """Processes that run a campaign until its budget is spent, and what they print.

    Args:
        project: Whose campaign.
        budget: Of the campaign.
        options: Of the command.
        environment: Of the processes.
    """

    def __init__(self, project: Project, budget: float, *options: str, **environment: str) -> None:
        self._project = project
        self._command = ("admire", "run", "--budget", str(budget), *options)
        self._environment = environment
        self.printed: list[str] = []

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return self._project.start(*self._command, **self._environment, **environment)

    def kill(self, worker: subprocess.Popen[str]) -> None:
        worker.kill()
        self.printed.append(worker.communicate()[0])

    def interrupt(self, *workers: subprocess.Popen[str]) -> None:
        """Ctrl-C: each leaves its trial to whoever goes on."""
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        for worker in workers:
            self.printed.append(worker.communicate(timeout=180)[0])
            assert worker.returncode == 1, self.printed[-1]

    def join(self, worker: subprocess.Popen[str]) -> str:
        """Wait until it has ended by itself; what it printed."""
        output = worker.communicate(timeout=900)[0]
        assert worker.returncode == 0 and "its budget is spent" in output, output
        self.printed.append(output)
        return output


def check_history(
    client: MlflowClient,
    printed: Sequence[str],
    kills: int,
    fault: Fault,
    campaign: str = "test",
) -> list[Any]:
    """What must hold of a campaign that has ended, whatever was done to it; its trials in order."""
    runs = tally(client, fault, campaign)
    metrics = {run.info.run_name: run.data.metrics for run in runs}
    steps = [step for output in printed for step in STEP.findall(output)]
    reported = [name for name, *_ in steps]
    fault.lost += len(set(reported) - set(metrics))
    fault.duplicated += len(reported) - len(set(reported))
    assert (fault.lost, fault.duplicated) == (0, 0)

    for name, score, cost, _ in steps:
        assert float(score) == pytest.approx(metrics[name]["score"], abs=1e-4)
        assert float(cost) == pytest.approx(metrics[name]["cost"], abs=1e-3)
    # A worker may die between the end of a trial and its line.
    silent = set(metrics) - set(reported)
    assert len(silent) <= kills
    total = sum(metric["cost"] for metric in metrics.values())
    told = sum(float(cost) for _, _, cost, _ in steps)
    assert told + sum(metrics[name]["cost"] for name in silent) == pytest.approx(total)
    reports = [report for output in printed for report in REPORT.findall(output)]
    spent, trials = max((float(spent), int(trials)) for spent, trials in reports)
    assert (trials, spent) == (len(runs), pytest.approx(total, abs=1e-3))
    return runs


def one_more(project: Project, client: MlflowClient, **environment: str) -> list[str]:
    """A trial by a worker that nothing befalls: it reports the whole campaign; what it printed.

    The one before may have been ended in silence: scored by a worker that was killed then.
    """
    spent = sum(float(run.data.params.get("expected_cost", 0)) for run in runs_of(client))
    last = Workers(project, spent + NANO, **environment)
    last.join(last.start())
    return last.printed


def held_by(client: MlflowClient, pid: int) -> list[Any]:
    """The runs of the campaign whose lease was last the process'."""

    def holder(run: Any) -> str:
        return str(run.data.params.get(f"lease.{epoch_of(run)}", run.data.tags.get(OWNER, "")))

    return [run for run in runs_of(client) if holder(run).split("|")[1:2] == [str(pid)]]


def unfinished(client: MlflowClient) -> set[str]:
    """Runs of the campaign that have not ended."""
    return {run.info.run_id for run in runs_of(client) if run.info.status == "RUNNING"}


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_at_random_again_and_again(project: Project, chaos: Chaos) -> None:
    kills = 100 if chaos.full else 4
    fault = chaos.fault("a worker is killed (SIGKILL) at a random moment")
    rng = random.Random(5)
    project.set("parameters.yml", "search.design_trials", 1000)
    client = mlflow_client(project)
    # More than the lives that are cut short can spend.
    workers = Workers(project, budget=kills * 3)
    left: set[str] = set()
    for _ in range(kills):
        began = time.monotonic()
        life = rng.uniform(0.5, 16.0) if chaos.full else rng.uniform(0.0, 4.0)
        worker = workers.start()
        if not chaos.full:  # too few for those that are killed before they have a trial
            wait_for(lambda: bool(held_by(client, worker.pid)), worker)  # noqa: B023
            began = time.monotonic()
        while (age := time.monotonic() - began) < life:
            if left and not left & unfinished(client):
                fault.seconds.append(age)
                left = set()
            time.sleep(0.2)
        assert worker.poll() is None, worker.communicate()
        workers.kill(worker)
        left = unfinished(client)
    printed = workers.printed + one_more(project, client)
    runs = check_history(client, printed, kills, fault)
    assert any("lease.1" in run.data.params for run in runs), "a kill has met a trial"
    fault.tries = kills


@pytest.mark.slow
@pytest.mark.chaos
def test_many_workers_on_postgres_some_killed(
    project: Project, chaos: Chaos, postgres_database: str, tmp_path: Path
) -> None:
    count, trials = (8, 60) if chaos.full else (3, 10)
    fault = chaos.fault(f"{count} workers on Postgres, two of them killed again and again")
    rng = random.Random(6)
    project.set("parameters.yml", "search.design_trials", 1000)
    budget = 2 * SMALL + (trials - 2) * NANO
    with MlflowServer(tmp_path / "server", postgres_database, workers=2) as server:
        client = MlflowClient(server.uri)
        workers = Workers(project, budget, MLFLOW_TRACKING_URI=server.uri)
        steady = [workers.start() for _ in range(count - 2)]
        victims = [workers.start() for _ in range(2)]
        deadline = time.monotonic() + 1800
        while not unfinished(client):  # the first kill meets a campaign that has begun
            assert time.monotonic() < deadline
            time.sleep(0.2)
        while any(worker.poll() is None for worker in steady):
            assert time.monotonic() < deadline
            victim = victims.pop(0)
            left = []
            if victim.poll() is None:
                workers.kill(victim)
                fault.tries += 1
                left = [r for r in held_by(client, victim.pid) if r.info.status == "RUNNING"]
            else:
                workers.join(victim)
            killed = time.monotonic()
            victims.append(workers.start())
            until = killed + rng.uniform(5.0, 20.0)
            while (now := time.monotonic()) < until:
                if left and epoch_of(client.get_run(left[0].info.run_id)) > epoch_of(left[0]):
                    fault.seconds.append(now - killed)  # another worker has its trial
                    left = []
                time.sleep(0.2)
        for worker in [*steady, *victims]:
            workers.join(worker)
        # It also finishes a trial that the last kill has left.
        printed = workers.printed + one_more(project, client, MLFLOW_TRACKING_URI=server.uri)
        made = len(check_history(client, printed, fault.tries, fault))
    assert fault.tries > 0 and trials < made <= trials + 2
