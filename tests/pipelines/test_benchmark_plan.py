"""What the benchmark's settings name without importing it, which takes long, is what there is."""

from __future__ import annotations

from admire_pipeline import optimizer
from admire_pipeline.pipelines.benchmark.plan import EVERY_POLICY, QUICK_POLICIES
from admire_pipeline.pipelines.benchmark.settings import MADE_UP, PUBLISHED
from admire_pipeline.replay.policies import BASELINES
from admire_pipeline.replay.published import READERS
from admire_pipeline.replay.synthetic import KINDS, PREFIX


def test_every_policy_is_run() -> None:
    assert sorted(EVERY_POLICY) == sorted([*optimizer.POLICIES, *BASELINES])
    assert set(QUICK_POLICIES) < set(EVERY_POLICY)


def test_every_table_is_named() -> None:
    assert sorted(PUBLISHED) == sorted(READERS)
    assert sorted(MADE_UP) == sorted(PREFIX + kind for kind in KINDS)
