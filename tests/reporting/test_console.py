from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from admire_pipeline.reporting.console import (
    print_recommendation,
    print_report,
    progress_line,
    ui_command,
)


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "trial": {
            "run_id": "f" * 32,
            "name": "trial-007-micro",
            "policy": "admire",
            "phase": "search",
            "fidelity": "micro",
            "mixture": {"python": 0.75, "prose": 0.25, "web": 0.0},
            "cost": 0.4,
            "score": -2.5,
            "score_standard_error": None,
            "metrics": {"bits_per_byte.python": 2.0, "bits_per_byte.tables": 3.0},
        },
        "recommendation": {
            "mixture": {"python": 0.5, "prose": 0.5, "web": 0.0},
            "fidelity": "small",
            "score_mean": -2.25,
            "score_sd": 0.125,
            "target_trials": 2,
            "trial": None,
            "metrics": {"bits_per_byte.python": {"mean": 1.875, "sd": 0.25}},
            "constraints": [],
        },
        "campaign": {
            "name": "c",
            "trials": 7,
            "spent": 2.2,
            "budget": 20,
            "costs": {"origin": "configured", "next": {"micro": 0.4, "small": 1.0}},
        },
    }


def printed(report: dict[str, Any], uri: str = "sqlite:////x/mlflow.db") -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    print_report(report, uri, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_every_number_of_a_step(report: dict[str, Any]) -> None:
    lines = printed(report)
    assert "trial trial-007-micro (admire, search) run " + "f" * 32 in lines
    assert f"python 75.0% {'█' * 16} 50.0% 2.0000 1.8750" in lines
    assert f"prose 25.0% {'█' * 5} 50.0% - -" in lines
    assert "web 0.0% 0.0% - -" in lines
    assert "tables - - 3.0000 -" in lines, "evaluated, not trained on"
    assert "score -2.5000 cost 0.400 fidelity micro" in lines
    best = "best predicted score -2.2500 ± 0.1250 at small; the recommended mixture above is not"
    assert any(line.startswith(best) for line in lines)
    assert any("spent 2.200 of 20 in 7 trials" in line for line in lines)


def test_tasks_stand_in_a_table_of_their_own(report: dict[str, Any]) -> None:
    report["trial"]["metrics"] |= {"acc.arc": 0.25, "exact_match.sums": 0.5}
    report["recommendation"]["metrics"]["acc.arc"] = {"mean": 0.375, "sd": 0.1}
    lines = printed(report)
    start = lines.index("task measured predicted")
    assert lines[start + 1 : start + 3] == ["acc.arc 0.2500 0.3750", "exact_match.sums 0.5000 -"]
    assert "tables - - 3.0000 -" in lines[:start]
    report["recommendation"] = {}
    assert "acc.arc 0.2500" in printed(report)


def test_without_a_target_trial_the_prediction_is_called_a_guess(report: dict[str, Any]) -> None:
    report["recommendation"]["target_trials"] = 0
    lines = printed(report)
    assert any("at small; no trial there yet: a guess;" in line for line in lines)
    assert not any("1.8750" in line for line in lines)


def test_constraints(report: dict[str, Any]) -> None:
    best = report["recommendation"]
    best["metrics"]["acc.arc"] = {"mean": 0.375, "sd": 0.1}
    asked = {"metric": "acc.arc", "at_least": 0.25, "probability": 0.9}
    best["constraints"] = [
        asked | {"predicted_probability": 0.89999},
        {"metric": "acc.quiz", "at_most": 2, "probability": 0.5, "predicted_probability": None},
    ]
    said = "must acc.arc at least 0.25: predicted 0.3750 ± 0.1000, kept with probability "
    lines = printed(report)
    assert f"{said}0.899, short of 0.9" in lines
    assert "must acc.quiz at most 2: no trial has measured it yet" in lines
    best["constraints"] = [asked | {"predicted_probability": 0.9}]
    assert f"{said}0.900" in printed(report)
    best["target_trials"] = 0
    assert f"{said}0.900; no trial there yet: a guess" in printed(report)


def test_before_there_is_a_recommendation(report: dict[str, Any]) -> None:
    lines = printed(report | {"recommendation": {}})
    assert not any("predicted" in line for line in lines)
    assert "predicted" not in progress_line(report | {"recommendation": {}})


def test_costs_are_shown_where_they_are_learned(report: dict[str, Any]) -> None:
    assert not any(line.startswith("costs") for line in printed(report))
    report["campaign"]["costs"] = {"origin": "measured", "next": {"micro": 0.45678, "small": 1.0}}
    assert "costs as measured so far: micro 0.457, small 1" in printed(report)


def test_progress_line(report: dict[str, Any]) -> None:
    assert progress_line(report) == (
        "trial-007-micro  score -2.5000  cost 0.400  spent 2.200/20  "
        "recommended, predicted -2.2500 ± 0.1250"
    )


def test_a_campaign_without_a_recommendation(report: dict[str, Any]) -> None:
    report["campaign"]["statuses"] = {"observed": 1, "failed": 6}
    console = Console(file=io.StringIO(), width=120)
    print_recommendation(report | {"recommendation": {}}, "http://host:5000", console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "campaign  c: trials 1 observed, 6 failed" in text
    assert "too few trials yet to recommend a mixture" in text
    assert "spent 2.200 of 20 in 7 trials" in text


def test_how_to_look() -> None:
    assert ui_command("http://host:5000") == "open http://host:5000"
    assert "--host 127.0.0.1 --backend-store-uri sqlite:////x" in ui_command("sqlite:////x")
