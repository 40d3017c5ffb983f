"""What a campaign is worth: its recommended mixture against those one would try by hand.

    python benchmarks/campaign.py [--steps 24] [--seeds 3] [--policy admire] [--out docs]

Runs a campaign of so many trials (again: continues it), then trains four mixtures at the target
with the same fresh seeds, prints their scores and draws them beside the campaign's trials. Finished
trainings are kept under data/07_model_output and not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from matplotlib.figure import Figure

from admire_pipeline.configuration import Configuration
from admire_pipeline.session import InterruptibleSession
from admire_pipeline.tracking import Trial, TrialStatus
from admire_pipeline.training.corpus import Corpus
from admire_pipeline.training.evaluation import evaluate_domains
from admire_pipeline.training.mixing import plan_mixture
from admire_pipeline.training.objective import Metric, score_metrics
from admire_pipeline.training.run import load_model, train_trial
from admire_pipeline.training.weights import CHECKPOINTS

PROJECT = Path(__file__).resolve().parents[1]
FRESH_SEED = 1000
"""First seed of the comparison: none that a trial of the campaign was trained with."""


def main() -> None:
    """Run the campaign, compare the mixtures, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24, help="trials of the campaign")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each mixture")
    parser.add_argument("--policy", default="admire")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs", help="folder of the figure")
    arguments = parser.parse_args()
    bootstrap_project(PROJECT)
    params = {
        "campaign": {"name": f"benchmark-{arguments.policy}-{arguments.steps}", "budget": 1e6},
        "search": {"policy": arguments.policy},
    }
    trials = history(params)
    while len(trials) < arguments.steps:
        with InterruptibleSession.create(PROJECT, runtime_params=params) as session:
            session.run(pipeline_names=["admire_step"])  # type: ignore[call-arg]
        trials = history(params)
    best = recommendation(params)
    with KedroSession.create(PROJECT, runtime_params=params) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        corpus = catalog.load("corpus")
        config = Configuration.model_construct(
            **{
                name: catalog.load(f"params:{name}")
                for name in ("fidelities", "evaluation", "objective")
            }
        )
    sizes = [len(corpus.train_tokens(domain)) for domain in corpus.domains]
    mixtures = {
        "uniform": dict.fromkeys(corpus.domains, 1 / len(corpus.domains)),
        "size-proportional": {
            d: size / sum(sizes) for d, size in zip(corpus.domains, sizes, strict=True)
        },
        "objective's weights": objective_weights(corpus, config),
        "recommended": best["mixture"],
    }
    scores = {
        name: [
            train_and_score(name, mixture, corpus, config, FRESH_SEED + i)
            for i in range(arguments.seeds)
        ]
        for name, mixture in mixtures.items()
    }
    report(trials, best, scores, unigram_score(corpus, config))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "campaign.png"
    draw(trials, scores, config.fidelities.root).savefig(path, dpi=150)
    print(f"figure  {path}")  # noqa: T201


def objective_weights(corpus: Corpus, config: Configuration) -> dict[str, float]:
    """Each domain as its validation loss weighs in the objective: what one would try by hand."""
    weights = config.objective.weights or {}
    shares = {d: weights.get(f"bits_per_byte.{d}", 0.0) if weights else 1.0 for d in corpus.domains}
    return {domain: share / sum(shares.values()) for domain, share in shares.items()}


def history(params: dict[str, Any]) -> list[Trial]:
    """Observed trials of the campaign."""
    with KedroSession.create(PROJECT, runtime_params=params) as session:
        trials: list[Trial] = session.load_context().catalog.load("trials")  # type: ignore[attr-defined]
    return [trial for trial in trials if trial.status is TrialStatus.OBSERVED]


def recommendation(params: dict[str, Any]) -> dict[str, Any]:
    """What the campaign's last trial recommended."""
    with KedroSession.create(PROJECT, runtime_params=params) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        trials = catalog.load("trials")
        folder = catalog.get("trials").store.folder(trials[-1])
    best: dict[str, Any] = json.loads((folder / "step_report.json").read_text())["recommendation"]
    return best


def train_and_score(
    name: str, mixture: dict[str, float], corpus: Corpus, config: Configuration, seed: int
) -> float:
    """Score of a mixture trained at the target with a seed."""
    target = list(config.fidelities.root.values())[-1]
    training = target.training
    plan = plan_mixture(mixture, training.draws, training.sequence_length, corpus, seed)
    parts = (target, config.evaluation, config.objective)
    recipe = json.dumps([plan.to_dict(), *(part.model_dump() for part in parts)], sort_keys=True)
    folder = PROJECT / "data" / "07_model_output" / "campaign_benchmark" / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "score.json"
    if known.exists() and (found := json.loads(known.read_text()))["recipe"] == recipe:
        return float(found["score"])
    shutil.rmtree(folder / "model", ignore_errors=True)
    run = train_trial(
        target, plan.to_dict(), corpus, folder, seed, config.evaluation, lambda *_: None
    )
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    metrics = evaluate_domains(
        load_model(folder / run["model"]),
        corpus,
        training.sequence_length,
        config.evaluation.batch_size,
        config.evaluation.max_bytes,
    )
    score = score_metrics(metrics, config.objective.weights).value
    known.write_text(json.dumps({"recipe": recipe, "score": score}))
    return score


def unigram_score(corpus: Corpus, config: Configuration) -> float:
    """Score of a model per domain that knows how often each of its tokens occurs, and no more."""
    metrics = []
    for domain in corpus.validation_domains:
        shard = corpus.validation(domain)
        known = corpus.train_tokens(domain) if domain in corpus.domains else shard.tokens
        counts = np.bincount(known, minlength=corpus.vocab_size) + 1.0
        bits = -np.log2(counts / counts.sum())[shard.tokens].sum()
        size = int(shard.bytes.sum())
        metrics.append(Metric(f"bits_per_byte.{domain}", bits / size, 0.0, len(shard), size))
    return score_metrics(metrics, config.objective.weights).value


def report(
    trials: list[Trial], best: dict[str, Any], scores: dict[str, list[float]], unigram: float
) -> None:
    """Print the comparison."""
    paid = sum(trial.cost for trial in trials)
    at_target = [trial for trial in trials if trial.fidelity == best["fidelity"]]
    top = max(at_target, key=lambda trial: trial.score or -math.inf)
    print(f"campaign           {len(trials)} trials, cost {paid:.2f} trainings of the target")  # noqa: T201
    print(f"best trial         {top.score:.4f} ({top.name}, of {len(at_target)} at the target)")  # noqa: T201
    print(f"predicted          {best['score_mean']:.4f} ± {best['score_sd']:.4f}")  # noqa: T201
    print(f"unigram            {unigram:.4f}")  # noqa: T201
    for name, values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(  # noqa: T201
            f"{name:<18} {statistics.mean(values):.4f} ± {spread:.4f} over {len(values)} seeds at "
            "the target"
        )


def draw(trials: list[Trial], scores: dict[str, list[float]], fidelities: dict[str, Any]) -> Figure:
    """Scores of the campaign's trials against cost, and the four mixtures at the target."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    paid = 0.0
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in fidelities}
    for trial in trials:
        paid += trial.cost
        points[trial.fidelity].append((paid, float(trial.score or 0)))
    shades = ["#b9cfe4", "#6f9fca", "#1f4e79"]
    for number, (name, found) in enumerate(points.items()):
        if found:
            axes.plot(
                *zip(*found, strict=True), "o", color=shades[number % 3], label=f"trials at {name}"
            )
    styles = [("#999999", "-"), ("#c98b2b", "-"), ("#8e5ea2", "--"), ("#2f8f4e", "-")]
    for (name, values), (colour, line) in zip(scores.items(), styles, strict=True):
        mean = statistics.mean(values)
        axes.axhline(mean, color=colour, ls=line, lw=1.5, label=f"{name}, at the target")
        axes.axhspan(min(values), max(values), color=colour, alpha=0.15, lw=0)
    axes.set_xlabel("compute spent (trainings of the target)")
    axes.set_ylabel("score (− weighted bits per byte)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


if __name__ == "__main__":
    main()
