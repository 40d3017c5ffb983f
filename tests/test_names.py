"""Names of the config: refused in one line, or safe in every path, key, figure and terminal."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError
from matplotlib.text import Text

from admire_pipeline import cli
from admire_pipeline.cli_errors import one_line_errors
from admire_pipeline.errors import UserError
from admire_pipeline.names import is_printable, printable
from admire_pipeline.replay.jobs import Job, Plan
from admire_pipeline.replay.synthetic import made_up_table
from admire_pipeline.replay.table import RunTable
from admire_pipeline.reporting.benchmark_figures import draw_fidelities, draw_regret
from admire_pipeline.tracking import CampaignSettings
from admire_pipeline.tracking.catalog import TrialFileDataset
from admire_pipeline.training.corpus.settings import CorpusSettings
from admire_pipeline.training.settings import EvaluationSettings, Ladder
from admire_pipeline.validation import validate_settings
from tests.conftest import Project

HOSTILE = [
    *(
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "a//b",
        "/etc/passwd",
        "~",
        "-rf",
        "a\\b",
        "C:x",
        "%2e%2e/x",
    ),
    *("x;rm -rf ~", "$(id)", "`id`", "a&b", "a|b", "a>b", "'x'", '"x"', "' OR 1=1 --", "a\x00b"),
    *("a\nb", "a\n", "\x1b]0;x\x07", "\x1b[2J", "\u202egpj", "\ud800", "Ω", "é", "名"),
    *("[/b]", "[red]x", ":smile:", "$x$", "$\\frac$", "{x}", "%s", "{{x}}", "=cmd()", "x" * 101),
    *("y" * 5000, "con", " ", "a b", "a/ /b", "...", "._-"),
]
TRAINING = {"tokens": 64, "sequence_length": 8, "batch_size": 1, "learning_rate": 0.1}
FIDELITY = {"cost": 1, "model": {"config": {"model_type": "llama"}}, "training": TRAINING}
TASK = {"path": "exam.jsonl", "kind": "multiple_choice", "metric": "acc"}
SIZES = {"batch_size": 1, "max_bytes": 1, "curve_bytes": 1}

names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=12),
    st.text("abz09_.-/ ;$[]\\\x1b\n'", max_size=12),
    st.tuples(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)).map("".join),
)


def domains(name: str) -> CorpusSettings:
    known = {"embedded": "python"}
    return validate_settings(
        CorpusSettings, {"domains": {name: known, "another": known, "third": known}}, "corpus"
    )


def fidelities(name: str) -> Ladder:
    return validate_settings(Ladder, {name: FIDELITY}, "fidelities")


def tasks(name: str) -> EvaluationSettings:
    return validate_settings(EvaluationSettings, {**SIZES, "tasks": {name: TASK}}, "evaluation")


def metric(name: str) -> EvaluationSettings:
    own = {**TASK, "metric": name}
    return validate_settings(EvaluationSettings, {**SIZES, "tasks": {"exam": own}}, "evaluation")


def campaign(name: str) -> CampaignSettings:
    return validate_settings(CampaignSettings, {"name": name, "budget": 1, "seed": 0}, "campaign")


def check_line(error: Exception) -> None:
    """What a terminal is given of an error."""
    with pytest.raises(click.ClickException) as shown, one_line_errors(verbose=False):
        raise error
    line = shown.value.message
    assert is_printable(line) and "allowed: " in line


@pytest.mark.parametrize("build", [domains, fidelities, tasks, metric, campaign])
@settings(deadline=None)
@given(name=names)
def test_a_name_is_refused_in_one_line_or_safe(build: Any, name: str) -> None:
    try:
        build(name)
    except UserError as error:
        check_line(error)
        return
    # Words of letters, digits and _ - . and spaces; slashes between those of a domain alone.
    parts = name.split("/") if build is domains else [name]
    assert all(re.fullmatch(r"[A-Za-z0-9_\-. ]+", part) for part in parts)
    assert not {".", ".."} & set(parts) and len(name) <= 100 or build is metric
    inside = Path("/project/data")
    assert (inside / name).resolve().is_relative_to(inside)


@settings(deadline=None)
@given(name=names)
@example(name="mixing_plan.json")
def test_a_trials_file_stays_in_its_folder(name: str) -> None:
    try:
        TrialFileDataset(name, {"type": "json.JSONDataset"})
    except DatasetError as error:
        assert "allowed: " in str(error)
        return
    assert "/" not in name and name not in ("", ".", "..")


@settings(deadline=None)
@given(policy=names, objective=names)
def test_a_benchmarks_file_stays_in_its_folder(policy: str, objective: str) -> None:
    table = made_up_table("transfer", domains=2, runs=(3, 3, 3), metrics=1)
    plan = Plan(table, "pool", (), (), (), 1.0, Path("/out"), Path("/cache"))
    path = plan.path(Job(policy, objective, 0))
    assert path.parent == Path("/out/jobs") and path.resolve() == path
    assert len(path.name.encode()) <= 255


@settings(deadline=None)
@given(name=names)
def test_a_terminal_is_given_text(name: str) -> None:
    console = cli._console()
    console.file = io.StringIO()
    console.print(printable(name), soft_wrap=True)
    assert console.file.getvalue() == printable(name) + "\n"


@settings(deadline=None)
@given(name=names)
def test_a_run_table_has_names_to_show(name: str) -> None:
    name = name.encode(errors="replace").decode()  # a file's text
    row = {"fidelity": [name], "cost": [1.0], "mixture.a": [0.5], "mixture.b": [0.5]}
    frame = pd.DataFrame({**row, f"metric.{name}": [1.0]})
    try:
        table = RunTable.from_frame("runs", frame, "maximize")
    except UserError as error:
        assert "\n" not in str(error) and is_printable(str(error))
        return
    assert is_printable(table.metrics[0]) and len(table.metrics[0]) <= 200


@pytest.mark.parametrize("name", ["$x$", "$\\frac$", "a_{b}^", "100 $ and $"])
def test_a_figure_shows_names_as_they_are(name: str) -> None:
    """matplotlib takes dollars for a formula, and raises where it is none."""
    first = {"table": name, "problem": "pool", "objective": name, "policy": "random", "seed": 0}
    rows = [{**first, "step": n, "cost": n, "fidelity": name, "honest": 0.5} for n in range(3)]
    curves = pd.DataFrame(rows).assign(published=0.5, budget=2.0)
    for figure in (
        draw_regret(curves, {name: (name,)}),
        draw_fidelities(curves, ["random"], [name]),
    ):
        figure.savefig(io.BytesIO())
        shown = [text.get_text() for text in figure.findobj(Text)]
        assert any(name in text.replace("\\$", "$") for text in shown)


ODD = ["...", " a/-rf/b .c", "_" * 100]


def test_a_step_with_odd_names(project: Project, tmp_path: Path, monkeypatch: Any) -> None:
    """All that is allowed works, in a folder that looks like markup and commands."""
    folder = tmp_path / "a [/b] ;$x$ 'é"
    shutil.move(project.folder, folder)
    monkeypatch.chdir(folder)
    moved = Project(folder)
    catalog = yaml.safe_load((folder / "conf/test/catalog.yml").read_text())
    texts = catalog["corpus"]["domains"].values()
    moved.set("catalog.yml", "corpus.domains", dict(zip(ODD, texts, strict=True)))
    moved.set("parameters.yml", "campaign.name", "0._- odd")
    moved.set("parameters.yml", "campaign.budget", 9)
    parameters = yaml.safe_load((folder / "conf/test/parameters.yml").read_text())
    sizes = parameters["fidelities"].values()
    moved.set("parameters.yml", "fidelities", dict(zip(("9..-_", "x" * 50), sizes, strict=True)))
    moved.set("parameters.yml", "search.policy", "random")
    result = moved.kedro("run", "--pipelines=admire_step")
    assert result.exit_code == 0, result.output
    assert all(name[:20] in result.output for name in ODD), result.output
    result = moved.kedro("admire", "export-runs", "--out", "runs [b].csv")
    assert result.exit_code == 0, result.output
    (run,) = moved.runs()
    assert run.info.status == "FINISHED"
    assert {f"data.revision.{name}" for name in ODD} <= set(run.data.params)
    exported = pd.read_csv(folder / "runs [b].csv")
    assert {f"metric.bits_per_byte.{name}" for name in ODD} <= set(exported.columns)


def test_a_benchmark_of_odd_names(project: Project) -> None:
    made = made_up_table("transfer", domains=3, runs=(9, 8, 7), metrics=1)
    odd = "acc [/b] $\\frac$ " + "z" * 150
    frame = made.frame.drop(columns="split").rename(columns={"metric.metric-1": f"metric.{odd}"})
    frame["fidelity"] = "../[red] $x$ " + frame["fidelity"]
    frame.to_csv(project.folder / "runs [b] $x$.csv", index=False)
    small = ("--policies", "random", "--seeds", "0", "--budget", "2", "--processes", "1")
    result = project.kedro("admire", "benchmark", "--table", "runs [b] $x$.csv", *small)
    assert result.exit_code == 0, result.output
    assert "runs [b] $x$ pool" in result.output
    out = project.folder / "data" / "08_reporting" / "benchmark"
    assert [path.name for path in out.iterdir()] == ["runs [b] $x$-pool"]
