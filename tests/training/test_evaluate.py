from __future__ import annotations

import json
import math
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from admire_pipeline.errors import UserError
from admire_pipeline.training import evaluate
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.evaluate import evaluate_trial, is_evaluated
from admire_pipeline.training.evaluation import evaluate_domains
from admire_pipeline.training.harness import model
from admire_pipeline.training.harness.model import wrap_model
from admire_pipeline.training.run import load_model
from admire_pipeline.training.settings import EvaluationSettings
from tests.damage import damage
from tests.training.harness.test_questions import choice, write

LENGTH = 32


@pytest.fixture
def folder(tmp_path: Path, bigram_model: Path) -> Path:
    shutil.copytree(bigram_model, tmp_path / "model")
    write(tmp_path / "letters.jsonl", [choice(f"{i}?", int(i < 2)) for i in range(8)])
    write(tmp_path / "sums.jsonl", [{"question": f"{i}=", "answer": "4"} for i in range(4)])
    return tmp_path


def settings(folder: Path, **changes: Any) -> EvaluationSettings:
    tasks = {
        "letters": {"path": "letters.jsonl", "kind": "multiple_choice", "metric": "acc"},
        "sums": {"path": "sums.jsonl", "kind": "generation", "metric": "exact_match"},
    }
    values = {"batch_size": 4, "max_bytes": 1024, "curve_bytes": 512, "tasks": tasks}
    return EvaluationSettings.model_validate(values | changes).located(folder)


def run(folder: Path, corpus: Corpus, evaluation: EvaluationSettings) -> dict[str, float]:
    what = (corpus, LENGTH, evaluation, folder / "cache")
    metrics = evaluate_trial(folder / "model", *what).metrics
    assert is_evaluated(*what)
    return {metric.name: metric.value for metric in metrics}


def kept(folder: Path) -> dict[str, int]:
    """When the last result of each unit was written, in ns."""
    paths = (folder / "cache").glob("*.json")
    times = sorted((path.stat().st_mtime_ns, path.stem) for path in paths)
    return {name.rpartition("-")[0]: time for time, name in times}


def test_losses_and_tasks(folder: Path, corpus: Corpus) -> None:
    evaluation = settings(folder)
    values = run(folder, corpus, evaluation)
    losses = evaluate_domains(load_model(folder / "model"), corpus, LENGTH, 4, 1024)
    assert values == {
        **{metric.name: metric.value for metric in losses},
        "acc.letters": 0.75,
        "exact_match.sums": 1.0,
    }
    assert set(kept(folder)) == {"validation", "task-letters", "task-sums"}
    cache = folder / "cache"
    cache.glob("task-letters*").__next__().unlink()
    again = evaluate_trial(folder / "model", corpus, LENGTH, evaluation, cache)
    third = evaluate_trial(folder / "model", corpus, LENGTH, evaluation, cache)
    # What was measured earlier counts with the seconds that it took then.
    assert third.seconds == again.seconds > 0
    results = again.harness
    assert results["letters"]["results"]["letters"]["acc,none"] == 0.75
    assert set(results) == {"letters", "sums"}
    assert str(folder) not in json.dumps(results), "no path of this machine"


def test_what_was_measured_is_not_measured_again(
    folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(folder, corpus, settings(folder))
    written = kept(folder)

    def load(_: Path) -> None:
        raise AssertionError("nothing is missing: the model is not needed")

    monkeypatch.setattr(evaluate, "load_model", load)
    assert run(folder, corpus, settings(folder, batch_size=2)) == first
    assert kept(folder) == written


@pytest.mark.parametrize("kind", ["truncated", "another digit"])
def test_a_damaged_result_is_measured_again(
    folder: Path, corpus: Corpus, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(folder, corpus, settings(folder))
    written = kept(folder)
    (result,) = (folder / "cache").glob("validation-*.json")
    if kind == "truncated":
        damage(result, kind, random.Random(7))
    else:
        result.write_text(re.sub(r'"value": \d', '"value": 9', result.read_text(), count=1))
    assert not is_evaluated(corpus, LENGTH, settings(folder), folder / "cache")
    assert run(folder, corpus, settings(folder)) == first
    assert f"{result.name} does not hold what was written to it; it is measured again" in (
        caplog.text
    )
    again = kept(folder)
    assert again.pop("validation") > written.pop("validation")
    assert again == written


def test_what_is_measured_on_changed_text_is_not_kept(
    folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = corpus.folders["numbers"] / "validation.tokens"
    before = tokens.read_bytes()
    load = evaluate.load_model

    def load_late(path: Path) -> Any:
        tokens.write_bytes(before[2:] + before[:2])
        return load(path)

    with monkeypatch.context() as late:
        late.setattr(evaluate, "load_model", load_late)
        with pytest.raises(UserError, match=r"numbers: validation\.tokens does not hold"):
            run(folder, corpus, settings(folder))
    tokens.write_bytes(before)
    assert not kept(folder)
    run(folder, corpus, settings(folder))


def test_tasks_have_a_batch_size_of_their_own(
    folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides no result: what was measured with one is not measured again with another."""
    sizes: list[int] = []

    def note_size(*given: Any) -> Any:
        sizes.append(given[2])
        return wrap_model(*given)

    monkeypatch.setattr(model, "wrap_model", note_size)
    first = run(folder, corpus, settings(folder, task_batch_size=3))
    assert sizes == [3, 3]
    assert run(folder, corpus, settings(folder, task_batch_size=5)) == first
    write(folder / "sums.jsonl", [{"question": "7=", "answer": "4"}])
    run(folder, corpus, settings(folder))
    assert sizes == [3, 3, 4]


def test_an_evaluation_that_stopped_goes_on(folder: Path, corpus: Corpus) -> None:
    """The second task fails; once that is mended, the first and the losses are as they were."""
    (folder / "sums.jsonl").write_text(json.dumps({"question": "1=", "answer": "x" * 200}))
    with pytest.raises(UserError, match=r"evaluation\.tasks\.sums: .* failed"):
        run(folder, corpus, settings(folder))
    written = kept(folder)
    assert set(written) == {"validation", "task-letters"}
    write(folder / "sums.jsonl", [{"question": "1=", "answer": "4"}])
    values = run(folder, corpus, settings(folder))
    assert values["acc.letters"] == 0.75 and values["exact_match.sums"] == 1.0
    assert kept(folder).items() > written.items()


def test_changed_questions_are_asked_again_and_the_others_not(folder: Path, corpus: Corpus) -> None:
    run(folder, corpus, settings(folder))
    written = kept(folder)
    before = (folder / "letters.jsonl").stat()
    write(folder / "letters.jsonl", [choice(f"{i}?", int(i < 4)) for i in range(8)])
    os.utime(folder / "letters.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(folder, corpus, settings(folder))["acc.letters"] == 0.5
    again = kept(folder)
    assert again.pop("task-letters") > written.pop("task-letters")
    assert again == written


def test_another_setting_of_a_task_is_another_result(folder: Path, corpus: Corpus) -> None:
    run(folder, corpus, settings(folder))
    changed = settings(folder).model_dump()
    changed["tasks"]["letters"]["limit"] = 2
    values = run(folder, corpus, EvaluationSettings.model_validate(changed))
    assert values["acc.letters"] == 0.0
    assert values["exact_match.sums"] == 1.0


def test_a_model_that_says_nan_is_measured(folder: Path, corpus: Corpus) -> None:
    tensors = load_file(folder / "model" / "model.safetensors")
    path = folder / "model" / "model.safetensors"
    save_file({n: t * math.nan for n, t in tensors.items()}, path, {"format": "pt"})
    first, again = (run(folder, corpus, settings(folder)) for _ in range(2))
    assert math.isnan(first["bits_per_byte.letters"]) and math.isnan(again["bits_per_byte.letters"])
    assert 0 <= first["acc.letters"] <= 1


SCRIPT = """
import json, pickle, sys
from pathlib import Path
from admire_pipeline.training.evaluate import evaluate_trial
from admire_pipeline.training.processes import this_process

state = this_process()
assert state.num_processes == 2
metrics = evaluate_trial(*pickle.loads(Path(sys.argv[1]).read_bytes())).metrics
values = {metric.name: metric.value for metric in metrics}
Path(sys.argv[1]).with_name(f"values-{state.process_index}.json").write_text(json.dumps(values))
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(folder: Path, corpus: Corpus) -> None:
    evaluation = settings(folder)
    alone = run(folder, corpus, evaluation)
    arguments = (folder / "model", corpus, LENGTH, evaluation, folder / "shared")
    (folder / "arguments").write_bytes(pickle.dumps(arguments))
    (folder / "script.py").write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "script.py", "arguments"],
        cwd=folder,
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        shared = json.loads((folder / f"values-{rank}.json").read_text())
        assert list(shared) == list(alone)
        assert shared == pytest.approx(alone, rel=1e-6)
    assert len(list((folder / "shared").glob("*.json"))) == 3
