"""The environments that we ship resolve and are valid, on a machine without a GPU too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import settings
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from admire_pipeline.configuration import Configuration, check_configuration
from admire_pipeline.errors import UserError
from admire_pipeline.optimizer import propose
from admire_pipeline.pipelines.search import build_space
from admire_pipeline.replay.download import RUNS_DIR
from admire_pipeline.replay.published import READERS
from admire_pipeline.training.models import check_model

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("env", "target"), [("base", "small"), ("gpu", "200M")])
def test_a_shipped_environment_is_valid(env: str, target: str) -> None:
    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        ladder, evaluation = (
            catalog.load(f"params:{name}") for name in ("fidelities", "evaluation")
        )
    assert list(ladder.root)[-1] == target
    for name, fidelity in ladder.root.items():
        check_model(fidelity, f"fidelities.{name}")
        # Of an embedded domain there are that many tokens; what is evaluated must fill a batch.
        assert evaluation.batch_size * fidelity.training.sequence_length <= evaluation.max_bytes


def configuration(env: str) -> Configuration:
    bootstrap_project(PROJECT)
    loader = settings.CONFIG_LOADER_CLASS(
        str(PROJECT / "conf"), env=env, **settings.CONFIG_LOADER_ARGS
    )
    return check_configuration(loader["parameters"], loader["catalog"]["corpus"], offline=True)


# As the published tables name them (`ratio_*`, `train_the_pile_*`).
DOMAINS = {
    "tulu": """
        coconot_converted evol_codealpaca_heval_decontaminated flan_v2_converted
        no_robots_converted numinamath_tir_math_decontaminated oasst1_converted
        personahub_code_v2_34999 personahub_ifdata_manual_seed_v3_29980
        personahub_math_v5_regen_149960 tulu_hard_coded_repeated_10 tulu_v3.9_aya_100k
        tulu_v3.9_open_math_2_gsm8k_50k tulu_v3.9_personahub_math_interm_algebra_20k
        tulu_v3.9_sciriff_10k
        tulu_v3.9_synthetic_finalresp_wildguardmixtrain_decontaminated_50k
        tulu_v3.9_table_gpt_5k tulu_v3.9_wildchat_100k
        tulu_v3.9_wildjailbreak_decontaminated_50k tulu-3-sft-personas-math-grade
    """,
    "pile": """
        arxiv freelaw nih_exporter pubmed_central wikipedia_en dm_mathematics github philpapers
        stackexchange enron_emails gutenberg_pg_19 pile_cc ubuntu_irc europarl hackernews
        pubmed_abstracts uspto_backgrounds
    """,
}


@pytest.mark.parametrize("env", DOMAINS)
def test_domains_have_the_names_of_the_published_tables(env: str) -> None:
    assert list(configuration(env).corpus.trained) == DOMAINS[env].split()


needs_tables = pytest.mark.skipif(
    RUNS_DIR not in os.environ, reason=f"{RUNS_DIR} does not name a folder of published tables"
)


@needs_tables
@pytest.mark.parametrize("env", ["tulu", "pile"])
def test_the_papers_settings_are_those_of_the_published_runs(env: str) -> None:
    config, table = configuration(env), READERS[env](Path())
    assert config.corpus.trained == tuple(table.domains)
    costs = table.frame.groupby("fidelity")["cost"].mean()
    assert {name: f.cost for name, f in config.fidelities.root.items()} == pytest.approx(
        costs.to_dict(), rel=1e-3
    )
    evaluated = config.corpus.evaluated if env == "pile" else tuple(config.evaluation.tasks)
    # What the harness has not, and what would run code of the model's.
    absent = {"popqa", "bigcodebench_hard", "codex_humaneval", "codex_humanevalplus"}
    expected = [name for name in table.metrics if name not in absent]
    assert sorted(evaluated) == sorted(expected)


@needs_tables
@pytest.mark.parametrize(("env", "bounded"), [("tulu", 19), ("pile", 11)])
def test_the_space_is_that_of_the_published_runs(env: str, bounded: int) -> None:
    config, table = configuration(env), READERS[env](Path())
    bounds = config.search.bounds
    assert len(bounds) == bounded
    for domain in table.domains:
        greatest = table.frame[f"mixture.{domain}"].max()
        if domain in bounds:
            least, most = bounds[domain]
            assert least == 0
            assert greatest <= most <= 1.26 * greatest, domain
        else:
            assert greatest > 0.95, domain


@pytest.mark.parametrize("env", ["tulu", "pile"])
def test_a_mixture_within_the_bounds_is_proposed(env: str) -> None:
    config = configuration(env)
    weights = config.objective.weights or {f"bits_per_byte.{d}": 1 for d in config.corpus.evaluated}
    space = build_space(config.corpus.trained, config.search, config.fidelities, weights)
    mixtures = space.mixtures.sample(24, np.random.default_rng(0))
    rows = [
        {"trial": str(number), "fidelity": space.fidelities[-(number < 4)].name}
        | {"status": "observed", "score": score, "score_se": np.nan, "cost": 1.0}
        | {f"metric.{name}": score for name in weights}
        | {f"mixture.{d}": w for d, w in zip(space.mixtures.domains, mixture, strict=True)}
        for number, mixture in enumerate(mixtures)
        for score in [float(np.sqrt(mixture[0]))]
    ]
    for trials in (pd.DataFrame(), pd.DataFrame(rows)):
        proposal = propose(space, trials, config.search.build_policy(), seed=0)
        assert space.mixtures.contains(proposal.mixture)


def test_the_sources_of_tulu_are_told_apart() -> None:
    config = configuration("tulu")
    sources = [domain.where["source"] for domain in config.corpus.domains.values()]
    # The name of a domain is that of its source.
    assert [str(source).split("/")[1] for source in sources] == list(config.corpus.domains)
    assert config.mixing.unit == "examples"
    assert set(config.objective.weights or {}) == set(config.evaluation.task_metrics)


def test_the_files_of_the_pile_are_told_apart() -> None:
    config = configuration("pile")
    for name, domain in config.corpus.domains.items():
        assert domain.files == f"train/{name}-*"
        assert domain.validation == (None if domain.use == "train" else f"valid/{name}-*")
    assert len(config.corpus.evaluated) == 13


def test_costs_of_tulu_are_the_published_minutes() -> None:
    costs = {name: f.cost for name, f in configuration("tulu").fidelities.root.items()}
    minutes = {"0.5B": 95.35, "3B": 258.87, "7B": 537.47}
    expected = {name: value / minutes["7B"] for name, value in minutes.items()}
    assert costs == pytest.approx(expected, abs=1e-4)


def test_a_checkpoint_that_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bootstrap_project(PROJECT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with (
        pytest.raises(
            UserError,
            match=r"^fidelities\.0\.5B\.model\.checkpoint: 'Qwen/Qwen2\.5-0\.5B' cannot be",
        ) as caught,
        KedroSession.create(PROJECT, env="tulu") as session,
    ):
        session.load_context()  # type: ignore[attr-defined]
    assert "\n" not in str(caught.value)
