"""The two published sets of runs as run tables, with their known faults put right.

- ``tulu``: ADMIRE IFT Runs (ADMIRE-BayesOpt, arXiv 2508.11551, section 5): Qwen2.5 0.5B, 3B and 7B
  fine-tuned on 19 sources of Tülu 3; CC BY-NC-SA 4.0.
- ``pile``: RegMix's runs (Liu et al. 2024, arXiv 2407.01492): 1M, 60M and 1B parameters trained on
  17 domains of the Pile; MIT.

The data are not part of this project: they are found or downloaded (``download.locate``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from admire_pipeline.replay.download import PublishedFile, locate
from admire_pipeline.replay.table import HELD_OUT, POOL, RunTable

if TYPE_CHECKING:
    import pandas as pd

DOWNLOADS = Path("data/01_raw/runs")
"""Where downloads are kept, within the project."""

_REGMIX = "https://raw.githubusercontent.com/sail-sg/regmix/{commit}/data/{name}"
_TULU = PublishedFile(
    "admire_ift_runs.csv",
    "https://raw.githubusercontent.com/xo28/ADMIRE-BayesOpt/"
    "da634d45f76abcade9ad1d9a70397c34f2c3d153/admire_ift_runs/admire_ift_runs.csv",
    "703b061d36203c297b311c1d03adcb46a9497a2fc1b3e86f81a55b047a205686",
)
_TULU_POOL = 60
_TULU_IN_DISTRIBUTION = 10
_WRONG = 1e-6

# Name: commit that wrote the file last, SHA-256. The 60M and the 1M test runs have the same
# mixtures; the repository holds them twice, byte for byte.
_PILE = {
    "train_mixture_1m.csv": (
        "b1bc0b41040667ab813d6d9b2dd0b37186b198cc",
        "04a32ef4ab594376bf90e11404c033668f887c351d6a03ad3744824c7296a2d8",
    ),
    "train_pile_loss_1m.csv": (
        "b1bc0b41040667ab813d6d9b2dd0b37186b198cc",
        "49a959aa07ce5c20831d5abe3a7896ff0cd90a398bd407c8913fd5588be0465a",
    ),
    "test_pile_loss_1m.csv": (
        "476a7b0916be0be0e12c0576083e41320d6fc8c1",
        "e027b1674f60140a65a87b5e4a59ab5f09dc33e8fd02c080682678074b160f53",
    ),
    "test_mixture_60m.csv": (
        "476a7b0916be0be0e12c0576083e41320d6fc8c1",
        "197267b7d6f15367e2f46c881e564c35b0d34e51b1754bb09d07e650cf8e1ce8",
    ),
    "test_pile_loss_60m.csv": (
        "b1bc0b41040667ab813d6d9b2dd0b37186b198cc",
        "8fe69d59ab7dd4fae4736459f4265ec93c7ed1ad1eca407346052560edc72b5b",
    ),
    "test_mixture_1B.csv": (
        "65181b70f376f77e06d3bcecb39d6c289c3a4526",
        "dd38052949c0a5f84165bdcb3ae3a331c7f07efd9bb83848bd579dfc4ce75a2c",
    ),
    "test_pile_loss_1B.csv": (
        "b004d3a3f39846dcec6b3740da22bcd1ba95a5d0",
        "b2451e2b7fa15400688edc39e4d32f21ccbe0fb356e07d62a0e9ccddf247114f",
    ),
}
_PILE_COSTS = {"1M": 0.001, "60M": 0.06, "1B": 1.0}
_PILE_POOL = 48


def read_tulu(cache: Path = DOWNLOADS) -> RunTable:
    """Read the 460 fine-tuning runs of ADMIRE-BayesOpt.

    Fidelities ``0.5B``, ``3B``, ``7B`` (256, 128, 76 runs) over 19 domains; costs are mean training
    times. 17 metrics, higher is better, named by their benchmark alone (``ifeval``, recorded as
    ``metric_ifeval::tulu``), in the groups ``average_id`` (the first 10, in distribution) and
    ``average_ood`` (the last 7). The pool is the paper's: the first 60 runs of the target.

    Args:
        cache: Folder for downloaded files.

    Returns:
        The table; its notes say what was corrected.

    Raises:
        UserError: If the file cannot be had.
    """
    import pandas as pd

    recorded = pd.read_csv(locate(_TULU, cache), float_precision="round_trip")
    size = recorded["model"].str.removeprefix("Qwen2.5-")
    metrics = {
        column: column.removeprefix("metric_").split(":")[0]
        for column in recorded.columns
        if column.startswith("metric_") and not column.startswith("metric_avg_")
    }
    names = tuple(metrics.values())
    groups = {
        "average_id": names[:_TULU_IN_DISTRIBUTION],
        "average_ood": names[_TULU_IN_DISTRIBUTION:],
    }
    frame = pd.DataFrame({"fidelity": size, "cost": recorded["train_time"]})
    frame["split"] = _pool_of_first(size == "7B", _TULU_POOL)
    weights = {c: f"mixture.{c[6:]}" for c in recorded.columns if c.startswith("ratio_")}
    renamed = {**weights, **{column: f"metric.{name}" for column, name in metrics.items()}}
    frame = pd.concat([frame, recorded[list(renamed)].rename(columns=renamed)], axis=1)
    means = recorded[list(metrics)].mean(axis=1)
    wrong = np.flatnonzero((recorded["metric_avg_id+ood"] - means).abs() > _WRONG)
    note = (
        "The recorded averages are not used, each average is computed from its metrics: "
        f"metric_avg_id+ood is wrong in rows {', '.join(map(str, wrong))} (counted from 0)."
    )
    return RunTable.from_frame("tulu", frame, "maximize", groups, (note,))


def read_pile(cache: Path = DOWNLOADS) -> RunTable:
    """Read RegMix's 1,088 pre-training runs.

    Fidelities ``1M`` (512 training and 256 test runs), ``60M`` (256), ``1B`` (64) over 17 domains;
    no cost was recorded, they are those of the ADMIRE paper (0.001, 0.06, 1). 13 metrics:
    validation losses by domain (``pile_cc``, ...), lower is better. The pool is the paper's: at the
    target the first 48 of its runs, and at 1M the training runs alone.

    Args:
        cache: Folder for downloaded files.

    Returns:
        The table; its notes say what was corrected.

    Raises:
        UserError: If a file cannot be had.
    """
    import pandas as pd

    parts = [
        _pile_runs(cache, "1M", "train_mixture_1m", "train_pile_loss_1m"),
        _pile_runs(cache, "1M", "test_mixture_60m", "test_pile_loss_1m"),
        _pile_runs(cache, "60M", "test_mixture_60m", "test_pile_loss_60m"),
        _pile_runs(cache, "1B", "test_mixture_1B", "test_pile_loss_1B"),
    ]
    parts[1]["split"] = HELD_OUT
    parts[3]["split"] = _pool_of_first(parts[3]["fidelity"] == "1B", _PILE_POOL)
    note = "No costs were recorded: 0.001, 0.06 and 1 are those of the ADMIRE paper."
    frame = pd.concat(parts, ignore_index=True)
    return RunTable.from_frame("pile", frame, "minimize", notes=(note,))


READERS: Mapping[str, Callable[[Path], RunTable]] = {"pile": read_pile, "tulu": read_tulu}
"""How each published table is read, by name."""


def _pile_runs(cache: Path, fidelity: str, mixtures: str, losses: str) -> pd.DataFrame:
    """The runs of a pair of files, joined by ``index``."""
    import pandas as pd

    def read(name: str) -> pd.DataFrame:
        commit, sha256 = _PILE[f"{name}.csv"]
        url = _REGMIX.format(commit=commit, name=f"{name}.csv")
        path = locate(PublishedFile(f"regmix/{name}.csv", url, sha256), cache)
        return pd.read_csv(path, index_col="index", float_precision="round_trip")

    weights = read(mixtures).rename(
        columns=lambda column: f"mixture.{column.removeprefix('train_the_pile_')}"
    )
    values = read(losses).rename(
        columns=lambda c: f"metric.{c.removeprefix('metric/the_pile_').removesuffix('_val_loss')}"
    )
    runs = weights.join(values, how="inner", validate="one_to_one").reset_index(drop=True)
    runs.insert(0, "fidelity", fidelity)
    runs.insert(1, "cost", _PILE_COSTS[fidelity])
    runs.insert(2, "split", POOL)
    return runs


def _pool_of_first(target: pd.Series, count: int) -> np.ndarray:
    """``pool`` for all rows but those of the target (``n`` booleans) after its first ``count``."""
    return np.where(target & (target.cumsum() > count), HELD_OUT, POOL)
