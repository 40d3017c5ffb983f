"""Bad input through `kedro run`: one line, exit status 1, no traceback, no MLflow run opened."""

from __future__ import annotations

import math
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from admire_pipeline.integrity import read_sealed, write_sealed
from admire_pipeline.training.weights import TRAINING_RUN, model_hash
from tests.conftest import Project

FINE_TUNING = "fidelities.nano.training"
LETTERS = "bits_per_byte.letters"

# file, dotted key, value (None removes the key), what the line must say
CONFIG_FAULTS: list[tuple[str, str, Any, str]] = [
    ("parameters.yml", "campaing", {}, r"campaing: unknown key; did you mean 'campaign'\?"),
    ("parameters.yml", "corpus", {}, r"corpus: it is no parameter; allowed: an entry of catalog"),
    (
        "catalog.yml",
        "corpsu",
        {"type": "admire_pipeline.training.catalog.CorpusDataset", "filepath": "x"},
        r"catalog\.corpsu: a second corpus; allowed: one, by the name 'corpus'",
    ),
    ("parameters.yml", "campaign.heartbeat_timeout", 1e300, r"heartbeat_timeout: 1e\+300 .* less"),
    ("parameters.yml", "fidelities.nano.cost", 7, r"fidelities: cost of nano is 7, .* small 1;"),
    (
        "parameters.yml",
        "fidelities.nano.launch",
        {"config": "conf/accelerate/zero3.yaml"},
        r"fidelities\.nano\.launch\.config: .*zero3\.yaml needs the package deepspeed",
    ),
    ("parameters.yml", "campaign.buget", 3, r"campaign\.buget: unknown key; did you mean 'budget'"),
    (
        "parameters.yml",
        f"{FINE_TUNING}.learning_rat",
        1e-3,
        r"fidelities\.nano\.training\.learning_rat: unknown key; did you mean 'learning_rate'",
    ),
    (
        "parameters.yml",
        "fidelities.nano.model.config.hiden_size",
        8,
        r"fidelities\.nano\.model\.config: unknown 'hiden_size'; did you mean 'hidden_size'",
    ),
    (
        "parameters.yml",
        "fidelities.nano.model.config.model_type",
        "lama",
        r"model_type: unknown 'lama'; did you mean 'llama",
    ),
    (
        "parameters.yml",
        "fidelities.nano.model.config.num_attention_heads",
        3,
        r"fidelities\.nano\.model\.config: ",
    ),
    (
        "parameters.yml",
        "fidelities.nano.model.config.vocab_size",
        100,
        r"fidelities\.nano\.model: its vocabulary has 100 tokens",
    ),
    (
        "parameters.yml",
        "fidelities.nano.model",
        {"checkpoint": "/nonexistent"},
        r"fidelities\.nano\.model\.checkpoint: '/nonexistent' cannot be read",
    ),
    (
        "parameters.yml",
        "fidelities.nano.launch",
        {"processes": 3},
        r"fidelities\.nano\.launch\.processes: 3 cannot share a step of 8 x 1 .* 1, 2, 4, 8$",
    ),
    (
        "parameters.yml",
        "fidelities.nano.launch",
        {"processes": 2, "config": "conf/accelerate/fdsp.yaml"},
        r"fidelities\.nano\.launch\.config: conf/accelerate/fdsp\.yaml cannot be used \(No such",
    ),
    ("parameters.yml", "fidelities", {}, r"fidelities: \{\} is not allowed; allowed: at least 1"),
    (
        "parameters.yml",
        "fidelities.a/b",
        {},
        r"fidelities\.a/b: 'a/b' is not allowed; allowed",
    ),
    ("parameters.yml", "campaign.budget", float("inf"), r"campaign\.budget: inf .* finite"),
    ("parameters.yml", f"{FINE_TUNING}.learning_rate", float("nan"), r"learning_rate: nan .* "),
    ("parameters.yml", "campaign", 3, r"campaign: 3 is not allowed; allowed: a mapping"),
    ("parameters.yml", "campaign.tracking_uri", "http://[::1", r"campaign\.tracking_uri: cannot"),
    ("parameters.yml", "campaign.tracking_uri", "nonsense://x", r"campaign\.tracking_uri: cannot"),
    ("catalog.yml", "corpus.filepath", None, r"corpus\.filepath: None is not allowed"),
    ("catalog.yml", "corpus.type", "nope.Nope", r"catalog\.corpus: "),
    ("catalog.yml", "corpus.domains.letters.path", [], r"corpus\.domains\.letters: path=\[\]"),
    ("catalog.yml", "mixing_plan", {"type": "nope"}, r"catalog\.mixing_plan: "),
    (
        "catalog.yml",
        "corpus.tokeniser",
        "byt5",
        r"corpus\.tokeniser: unknown key; did you mean 'tokenizer'",
    ),
    (
        "catalog.yml",
        "corpus.domains.letters.pth",
        "x",
        r"corpus\.domains\.letters\.pth: unknown key; did you mean 'path'",
    ),
    ("parameters.yml", "campaign.budget", 0, r"campaign\.budget: 0 .* greater than 0"),
    ("parameters.yml", "campaign.budget", -1, r"campaign\.budget: -1 .* greater than 0"),
    ("parameters.yml", "campaign.name", "a/../b:*", r"campaign\.name: 'a/\.\./b:\*' .* allowed"),
    ("parameters.yml", "campaign.name", "", r"campaign\.name: '' .* allowed"),
    ("parameters.yml", "fidelities.nano.cost", None, r"fidelities\.nano\.cost: missing"),
    ("parameters.yml", "fidelities.nano.cost", 0, r"fidelities\.nano\.cost: 0 .* greater than 0"),
    ("parameters.yml", f"{FINE_TUNING}.tokens", 8, r"tokens=8 is less than one optimizer step"),
    ("parameters.yml", "search.policy", "admir", r"search: policy: 'admir' .* 'admire'"),
    (
        "parameters.yml",
        "search.bounds",
        {"letters": [0.6, 1.0], "numbers": [0.6, 1.0]},
        r"search: .*no feasible mixture: lower bounds sum to 1\.2",
    ),
    (
        "parameters.yml",
        "search.bounds",
        {"letters": [0.0, 0.3], "numbers": [0.0, 0.3]},
        r"search: .*no feasible mixture: upper bounds sum to 0\.6",
    ),
    ("parameters.yml", "search.bounds", {"letters": [0.5, 0.2]}, r"search: .*letters.*0\.5"),
    *[
        ("parameters.yml", "search.bounds", {"letters": bound}, r"bounds\.letters: .* \[least w")
        for bound in ([0.1], [0.1, 0.2, 0.3], 0.5, {})
    ],
    ("parameters.yml", "search.bounds", {"leters": [0.1, 0.2]}, r"search: .*leters.*letters"),
    (
        "catalog.yml",
        "corpus.domains",
        {"letters": {"path": "data/01_raw/letters.txt", "document": "line"}},
        r"corpus\.domains: 1 of 1 domains train; allowed: 2 or more",
    ),
    (
        "catalog.yml",
        "corpus.domains.a:b",
        {"path": "data/01_raw/letters.txt"},
        r"corpus\.domains: name 'a:b' is no MLflow key; allowed",
    ),
    (
        "catalog.yml",
        "corpus.domains.Letters",
        {"path": "data/01_raw/letters.txt"},
        r"corpus\.domains: names 'letters' and 'Letters' differ only in case",
    ),
    (
        "catalog.yml",
        "corpus.domains.letters.embedded",
        "python",
        r"corpus\.domains\.letters: embedded and path given; allowed: exactly one",
    ),
    (
        "parameters.yml",
        "objective",
        {"weights": {"bits_per_byte.leters": 1}},
        r"objective\.weights: unknown metric 'bits_per_byte\.leters'; did you mean",
    ),
    (
        "parameters.yml",
        "objective",
        {"weights": {"bits_per_byte.letters": -1}},
        r"objective\.weights: weight of bits_per_byte\.letters is -1",
    ),
    *[
        ("parameters.yml", "search.constraints", {metric: bound}, message)
        for metric, bound, message in (
            ("acc.quiz", {"at_least": 1}, r"search\.constraints: unknown metric 'acc\.quiz'"),
            (
                LETTERS,
                {},
                r"constraints\.bits_per_byte\.letters: .*neither given; allowed",
            ),
            (
                LETTERS,
                {"at_least": 1, "at_most": 2},
                r"letters: .*both given; allowed: exactly",
            ),
            (LETTERS, {"at_lest": 1}, r"at_lest: unknown key; did you mean 'at_least'"),
            (LETTERS, {"at_most": 1, "probability": 1}, r"letters\.probability: 1 .*less than 1"),
            (LETTERS, {"at_most": float("inf")}, r"letters\.at_most: inf .* finite"),
            (LETTERS, {"at_most": True}, r"letters\.at_most: True "),
            (LETTERS, {"at_most": -1}, r"letters\.at_most: -1; allowed: between 0 and inf, the m"),
        )
    ],
    (
        "parameters.yml",
        "search",
        {"policy": "random", "constraints": {LETTERS: {"at_most": 1}}},
        r"search: policy: 'random' does not heed constraints .*; allowed with them: admire, ",
    ),
    (
        "parameters.yml",
        "evaluation.tasks.sums",
        {"path": "x", "kind": "generation", "metric": "exact_match", "max_tokens": 64},
        r"tasks\.sums\.max_tokens: 64 leaves no room .* 64 tokens .* fidelities\.nano takes; all",
    ),
]

# The same, found when the text is read.
TEXT_FAULTS: list[tuple[str, str, Any, str]] = [
    (
        "catalog.yml",
        "corpus.domains.letters.path",
        "data/01_raw/leters.txt",
        r"corpus\.domains\.letters\.path: .*leters\.txt",
    ),
    (
        "catalog.yml",
        "corpus.filepath",
        "data/01_raw/letters.txt",
        r"corpus\.filepath: cannot write",
    ),
    (
        "parameters.yml",
        "evaluation.max_bytes",
        1,
        r"evaluation\.max_bytes: 1 bytes of corpus\.domains\.\w+ are \d+ tokens; allowed: at least",
    ),
    (
        "catalog.yml",
        "corpus.domains.numbers.text",
        "txt",
        r"corpus\.domains\.numbers\.text: .*'txt'.*text",
    ),
    (
        "parameters.yml",
        "evaluation.batch_size",
        4000,
        r"corpus\.domains\.\w+: has \d+ validation tokens; allowed: at least one batch, 256000",
    ),
]


def assert_one_line(project: Project, pattern: str) -> None:
    result = project.kedro("run", "--pipelines=admire_step")
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(lines) == 1, result.output
    assert lines[0].startswith("Error: ")
    assert re.search(pattern, lines[0]), lines[0]
    assert project.runs() == []


@pytest.mark.parametrize(("file", "key", "value", "pattern"), CONFIG_FAULTS + TEXT_FAULTS)
def test_faulty_config(project: Project, file: str, key: str, value: Any, pattern: str) -> None:
    project.set(file, key, value)
    assert_one_line(project, pattern)


def test_empty_source(project: Project) -> None:
    Path("data/01_raw/letters.txt").write_text("")
    assert_one_line(project, r"corpus\.domains\.letters.*(empty|no document|no text)")


def test_duplicate_name_in_yaml(project: Project) -> None:
    path = Path("conf/test/parameters.yml")
    path.write_text(path.read_text() + "\nsearch: {policy: random, design_trials: 1}\n")
    assert_one_line(project, r"(?i)duplicate key search")


def test_parameters_that_are_a_list(project: Project) -> None:
    Path("conf/test/parameters.yml").write_text("[1, 2]\n")
    assert_one_line(project, r"conf: |parameters: ")


def test_tracking_uri_of_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    assert_one_line(project, r"campaign\.tracking_uri: cannot use 'nonsense://x'")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--pipelines=admire_stp", "--pipelines: unknown 'admire_stp'; did you mean 'admire_step'"),
        ("--pipeline=admire_stp", "--pipeline: unknown 'admire_stp'; did you mean 'admire_step'"),
        ("--nodes=train", "--pipelines: .*train"),
        ("--tags=gpu", "--pipelines: .*no nodes"),
        ("--to-outputs=scores", "--pipelines: .*scores"),
        ("--namespaces=x", "--pipelines: .*namespace"),
        ("--runner=ParallelRunner", "--runner: 'ParallelRunner' would work .* allowed: Sequential"),
        ("--runner=nope", "--runner: 'nope' would work .* allowed: SequentialRunner"),
    ],
)
def test_faulty_arguments(project: Project, argument: str, message: str) -> None:
    result = project.kedro("run", argument)
    assert result.exit_code == 1
    assert re.match(f"Error: {message}", result.output), result.output
    assert result.output.count("\n") == 1
    assert project.runs() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("parameters.yml", "campaign.budget", 0),
        ("parameters.yml", "evaluation.batch_size", 4000),
        ("parameters.yml", "campaign.tracking_uri", "sqlite:////proc/none.db"),
    ],
)
def test_one_line_in_a_terminal(project: Project, file: str, key: str, value: Any) -> None:
    """In a process of its own, where log lines are seen too."""
    project.set(file, key, value)
    process = project.start("run", "--pipelines=admire_step")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    lines = [line for line in output.splitlines() if " INFO " not in line]
    assert len(lines) == 1 and lines[0].startswith("Error: "), output


def test_missing_outputs_without_an_open_trial(project: Project) -> None:
    result = project.kedro("run", "--pipelines=admire_step", "--only-missing-outputs")
    assert result.exit_code == 0, result.output
    (run,) = project.runs()
    assert run.info.status == "FINISHED"


def test_password_of_the_server_is_not_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:se/cret@127.0.0.1:9")
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert "cret" not in result.output + caplog.text


@pytest.mark.parametrize("stage", ["data_mixing", "fine_tuning", "evaluation", "bo_update"])
def test_changed_recipe_ends_any_stage_before_it_begins(project: Project, stage: str) -> None:
    stages = ["proposal", "data_mixing", "fine_tuning", "evaluation", "bo_update"]
    for before in stages[: stages.index(stage)]:
        assert project.kedro("run", f"--pipelines={before}").exit_code == 0
    project.set("parameters.yml", "objective.weights", {"bits_per_byte.letters": 1})
    result = project.kedro("run", f"--pipelines={stage}")
    assert result.exit_code == 1
    assert "Error: campaign.name: its trial trial-001-small was made with" in result.output
    (run,) = project.runs()
    assert "score" not in run.data.metrics
    project.set("parameters.yml", "objective.weights", None)
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 0
    (run,) = project.runs()
    assert run.info.status == "FINISHED"


def test_trials_can_be_given_up_whatever_else_is_wrong(project: Project) -> None:
    assert project.kedro("run", "--pipelines=proposal").exit_code == 0
    project.set("parameters.yml", "fidelities.nano.cost", -1)
    assert project.kedro("admire", "abandon").output == "trial-001-small is given up\n"


def test_unreachable_server(project: Project) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    project.set("parameters.yml", "campaign.tracking_uri", f"http://127.0.0.1:{port}")
    project.set("parameters.yml", "campaign.server_timeout", 2)
    assert_one_line(project, rf"campaign\.tracking_uri: cannot use 'http://127\.0\.0\.1:{port}'")


def test_score_that_is_no_number(project: Project) -> None:
    """A learning rate of 1e30 makes every weight infinite: the trial fails and keeps its cost."""
    project.set("parameters.yml", "fidelities.small.training.learning_rate", 1e30)
    project.set("parameters.yml", "fidelities.small.training.learning_rate", 1e30)
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and re.search(r"nan|inf", errors[0]), result.output
    assert "Traceback" not in result.output
    (run,) = project.runs()
    assert run.info.status == "FAILED"
    assert run.data.metrics["cost"] == float(run.data.params["expected_cost"]) > 0
    assert "nan" in run.data.tags["admire.reason"] or "inf" in run.data.tags["admire.reason"]


def test_evaluation_that_is_no_number(project: Project) -> None:
    """Weights that overflow although the training went well: here by hand, and with their hash."""
    for stage in ("proposal", "data_mixing", "fine_tuning"):
        assert project.kedro("run", f"--pipelines={stage}").exit_code == 0
    (weights,) = Path("data/06_models/trials").glob("*/model/model.safetensors")
    tensors = load_file(weights)
    save_file(
        {name: tensor * math.nan for name, tensor in tensors.items()}, weights, {"format": "pt"}
    )
    finished = weights.with_name(TRAINING_RUN)
    write_sealed(finished, {**read_sealed(finished), "hash": model_hash(weights.parent)})
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert re.search(r"Error: score: the trial's score is nan \(bits_per_byte", result.output)
    (run,) = project.runs()
    assert run.info.status == "FAILED" and run.data.metrics["cost"] > 0


def test_failed_trial_is_not_proposed_again(project: Project) -> None:
    project.set("parameters.yml", "fidelities.small.training.learning_rate", 1e30)
    project.set("parameters.yml", "fidelities.small.training.learning_rate", 1e30)
    for _ in range(2):
        assert project.kedro("run", "--pipelines=admire_step").exit_code == 1
    first, second = project.runs()
    assert first.data.params["mixture.letters"] != second.data.params["mixture.letters"]


def test_verbose_shows_the_traceback(project: Project) -> None:
    project.set("parameters.yml", "campaign.budget", 0)
    result = project.kedro("run", "--pipelines=admire_step", "--verbose")
    assert result.exit_code == 1
    assert "UserError" in repr(result.exception)


def test_spent_budget_is_no_error(project: Project) -> None:
    project.set("parameters.yml", "campaign.budget", 0.1)
    first = project.kedro("run", "--pipelines=admire_step")
    assert first.exit_code == 0, first.output
    second = project.kedro("run", "--pipelines=admire_step")
    assert second.exit_code == 0, second.output
    assert "its budget is spent" in second.output
    assert len(project.runs()) == 1


def test_stage_out_of_order_keeps_the_trial(project: Project) -> None:
    assert project.kedro("run", "--pipelines=proposal").exit_code == 0
    result = project.kedro("run", "--pipelines=evaluation")
    assert result.exit_code == 1
    assert re.search(r"Error: trial-001-\w+: training_run\.json is missing", result.output)
    (run,) = project.runs()
    assert run.info.status == "KILLED" and run.data.tags["admire.resumable"] == "true"


def test_text_changed_under_an_open_trial(project: Project) -> None:
    for stage in ("proposal", "data_mixing", "fine_tuning"):
        assert project.kedro("run", f"--pipelines={stage}").exit_code == 0
    path = Path("data/01_raw/letters.txt")
    path.write_text(path.read_text() + "\na new line of letters that was not there before")
    result = project.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 1
    assert (
        "Error: campaign.name: its trial trial-001-small was made with other text" in result.output
    )
    assert project.kedro("admire", "abandon").output == "trial-001-small is given up\n"
    (run,) = project.runs()
    assert run.info.status == "FAILED"
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 0


def test_stage_without_open_trial(project: Project) -> None:
    result = project.kedro("run", "--pipelines=evaluation")
    assert result.exit_code == 1
    assert "has no open trial" in result.output
    assert "Traceback" not in result.output
