"""Whole steps whose score is made of a validation loss and of benchmark tasks."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import mlflow
import pytest

from admire_pipeline.training.harness import check
from tests.conftest import Project
from tests.training.harness.index import use_index, write_index
from tests.training.harness.test_questions import choice, write

TASKS = {
    "exam": {"path": "data/01_raw/exam.jsonl", "kind": "multiple_choice", "metric": "acc"},
    "sums": {
        "path": "data/01_raw/sums.jsonl",
        "kind": "generation",
        "metric": "exact_match",
        "few_shot": 1,
    },
}
WEIGHTS = {"bits_per_byte.letters": 1, "acc.exam": 2, "exact_match.sums": 1}


@pytest.fixture
def asked(project: Project) -> Project:
    """The test project with two tasks, and an objective over them and a loss."""
    write(Path("data/01_raw/exam.jsonl"), [choice(f"{i // 2}?", i % 2) for i in range(6)])
    rows = [{"question": f"{i}=", "answer": f"{i}"} for i in range(4)]
    write(Path("data/01_raw/sums.jsonl"), rows)
    project.set("parameters.yml", "evaluation.tasks", TASKS)
    project.set("parameters.yml", "objective", {"weights": WEIGHTS})
    return project


def measured() -> dict[str, int]:
    """When each result was written, in ns, by what was measured."""
    paths = list(Path("data/07_model_output/evaluations").glob("*/[!.]*.json"))
    return {path.stem.rpartition("-")[0]: path.stat().st_mtime_ns for path in paths}


def one_line(project: Project, pattern: str) -> None:
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert re.search(pattern, line), line
    assert not [run for run in project.runs() if "admire.proposal" in run.data.params]


def test_tasks_and_losses_make_one_score(asked: Project) -> None:
    result = asked.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 0, result.output
    (run,) = asked.runs()
    values = run.data.metrics
    # Each question stands there twice, with either answer: one of both is right.
    assert values["eval.acc.exam"] == 0.5
    assert values["eval_standard_error.acc.exam"] == pytest.approx((0.25 / 5) ** 0.5)
    assert 0 <= values["eval.exact_match.sums"] <= 1
    expected = 2 * 0.5 + values["eval.exact_match.sums"] - values["eval.bits_per_byte.letters"]
    assert values["score"] == pytest.approx(expected / 4, abs=1e-12)
    assert re.search(r"acc\.exam +0\.5000", result.output), result.output

    client = mlflow.MlflowClient(f"sqlite:///{asked.folder}/data/mlflow/mlflow.db")
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"harness.json", "evaluation.json"} <= kept
    folder = asked.folder / "data" / "06_models" / "trials" / run.info.run_id
    harness = json.loads((folder / "harness.json").read_text())
    assert harness["exam"]["results"]["exam"]["acc,none"] == 0.5
    assert harness["sums"]["n-shot"] == {"sums": 1}
    rows = {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())}
    assert rows["acc.exam"]["documents"] == 6 and rows["acc.exam"]["bytes"] is None
    assert rows["bits_per_byte.letters"]["bytes"] > 0


def test_without_tasks_there_is_no_file_of_the_harness(project: Project) -> None:
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 0
    assert not list(project.folder.glob("data/06_models/trials/*/harness.json"))


def test_what_is_wrong_with_a_task_is_told_before_a_trial(asked: Project) -> None:
    Path("data/01_raw/exam.jsonl").unlink()
    one_line(asked, r"evaluation\.tasks\.exam\.path: .*exam\.jsonl' cannot be read")
    write(Path("data/01_raw/exam.jsonl"), [choice("?", 5)])
    one_line(asked, r"evaluation\.tasks\.exam\.path \(.*exam\.jsonl, line 1\): answer 5 is none")
    write(Path("data/01_raw/exam.jsonl"), [choice("?")])
    asked.set("parameters.yml", "evaluation.tasks.exam.metric", "acc_nrm")
    one_line(asked, r"unknown metric 'acc\.exam'; did you mean 'acc_nrm\.exam'")
    asked.set("parameters.yml", "objective.weights", None)
    one_line(asked, r"evaluation\.tasks\.exam\.metric: 'acc_nrm' .*did you mean 'acc_norm'")
    asked.set("parameters.yml", "evaluation.tasks.exam.metric", "pass@1")
    one_line(asked, r"evaluation\.tasks\.exam\.metric: 'pass@1' is not allowed; allowed: letters")


def test_answers_that_leave_no_room_are_told_before_a_trial(asked: Project) -> None:
    rows = [{"question": f"{i}=", "answer": f"{i}" * 100} for i in range(4)]
    write(Path("data/01_raw/sums.jsonl"), rows)
    one_line(asked, r"evaluation\.tasks\.sums: its answers may have 109 tokens, .* in the 64 that")


def test_names_are_checked_before_the_corpus_is_built(asked: Project) -> None:
    asked.set("catalog.yml", "corpus.domains.letters.path", "data/01_raw/nowhere.txt")
    asked.set("parameters.yml", "objective.weights", None)
    asked.set("parameters.yml", "evaluation.tasks.exam.metric", "acc_nrm")
    one_line(asked, r"evaluation\.tasks\.exam\.metric: 'acc_nrm' .*did you mean 'acc_norm'")
    asked.set("parameters.yml", "evaluation.tasks.exam.metric", "acc")
    one_line(asked, r"corpus\.domains\.letters\.path: .*nowhere\.txt")


def test_data_of_a_task_is_looked_for_before_a_trial_is_opened(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that is open already goes on for as long as it can do without."""
    index = project.folder / "index"
    write_index(index)
    use_index(index, monkeypatch)
    project.set("parameters.yml", "evaluation.tasks", {"mine": {"task": "one", "metric": "acc"}})
    data, away = index / "one.jsonl", index / "away.jsonl"
    data.rename(away)
    one_line(project, r"evaluation\.tasks\.mine\.task: the data of 'one' cannot be read")

    away.rename(data)
    assert project.kedro("run", "--pipelines=proposal").exit_code == 0
    data.rename(away)
    check._try_task.cache_clear()
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1 and "Error: evaluation.tasks.mine.task: the data" in result.output
    assert set(measured()) == {"validation"}, "it was trained"

    away.rename(data)
    project.set("parameters.yml", "evaluation.task_batch_size", 2)  # no other recipe
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    assert run.info.status == "FINISHED" and 0 <= run.data.metrics["eval.acc.mine"] <= 1


def test_a_task_that_measures_what_a_domain_does(project: Project) -> None:
    task = {"task": "wikitext", "metric": "bits_per_byte"}
    project.set("parameters.yml", "evaluation.tasks", {"letters": task})
    one_line(project, r"evaluation\.tasks\.letters: it measures 'bits_per_byte', and so does")


def test_other_questions_are_another_recipe(asked: Project) -> None:
    """They are noticed under an open trial, and the old ones finish it; no answer is lost."""
    for stage in ("proposal", "data_mixing", "fine_tuning", "evaluation"):
        assert asked.kedro("run", f"--pipelines={stage}").exit_code == 0
    path = Path("data/01_raw/exam.jsonl")
    before = path.read_text()
    write(path, [choice(f"{i}?", 0) for i in range(6)])
    result = asked.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert "Error: campaign.name: its trial trial-001-small was made with other" in result.output
    path.write_text(before)
    assert asked.kedro("run", "--pipelines=admire_step").exit_code == 0
    (run,) = asked.runs()
    assert run.info.status == "FINISHED"


def test_a_failed_evaluation_leaves_the_trial_open(
    asked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness' fault alone is faked; what was measured before it is kept."""
    from lm_eval import simple_evaluate

    def fail_once(**arguments: object) -> object:
        if [task.config.task for task in arguments["tasks"]] == ["sums"]:  # type: ignore[attr-defined]
            monkeypatch.undo()
            monkeypatch.chdir(asked.folder)
            raise RuntimeError("the GPU fell off the bus")
        return simple_evaluate(**arguments)

    monkeypatch.setattr("admire_pipeline.training.harness.run.simple_evaluate", fail_once)
    result = asked.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert re.search(r"Error: evaluation\.tasks\.sums: lm-evaluation-harness failed", result.output)
    (run,) = asked.runs()
    assert run.info.status == "KILLED" and run.data.tags["admire.resumable"] == "true"
    before = measured()
    assert set(before) == {"task-exam", "validation"}
    assert asked.kedro("run", "--pipelines=admire_step").exit_code == 0
    assert {name: measured()[name] for name in before} == before
    (run,) = asked.runs()
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_with_the_next_task(asked: Project) -> None:
    for stage in ("proposal", "data_mixing", "fine_tuning"):
        assert asked.kedro("run", f"--pipelines={stage}").exit_code == 0
    process = asked.start("run", "--pipelines=evaluation")
    while "task-exam" not in measured() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = measured()
    assert set(before) == {"task-exam", "validation"}
    result = asked.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 0, result.output
    assert measured().items() > before.items()
    (run,) = asked.runs()
    assert run.info.status == "FINISHED" and run.data.metrics["eval.acc.exam"] == 0.5
