from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.replay import RunTable, read_table


def runs() -> pd.DataFrame:
    """Two sizes in an order that is neither the file's nor the alphabet's; 2 domains, 2 metrics."""
    return pd.DataFrame(
        {
            "fidelity": ["large", "tiny", "large", "tiny", "large"],
            "cost": [4.0, 1.0, 6.0, 1.0, 5.0],
            "mixture.web": [0.1, 0.5, 1 / 3, 0.0, 1.0],
            "mixture.code": [0.9, 0.5, 1 - 1 / 3, 1.0, 0.0],
            "metric.qa": [0.1, 0.2, 0.3, np.nan, 0.5],
            "metric.math": [1.0, 2.0, 3.0, 4.0, 5.0],
            "comment": ["kept out", "", "", "", ""],
        }
    )


def test_the_dearest_on_average_is_the_target() -> None:
    table = RunTable.from_frame("mine", runs(), "maximize")
    assert [(f.name, f.cost) for f in table.fidelities] == [("tiny", 0.2), ("large", 1.0)]
    assert table.fidelities[-1].name == "large"
    assert table.frame["cost"].tolist() == [0.8, 0.2, 1.2, 0.2, 1.0]
    assert table.domains == ("web", "code") and table.metrics == ("qa", "math")


def test_runs_by_fidelity() -> None:
    table = RunTable.from_frame("mine", runs(), "maximize")
    assert table.rows(-1).tolist() == table.rows("large").tolist() == [0, 2, 4]
    assert table.mixtures("tiny").tolist() == [[0.5, 0.5], [0.0, 1.0]]
    np.testing.assert_array_equal(table.values(0), [[0.2, 2.0], [np.nan, 4.0]])
    assert table.pool(0).all() and table.pool(1).all()
    with pytest.raises(ValueError, match="'huge' is not one of"):
        table.rows("huge")


def test_held_out_runs_are_not_in_the_pool() -> None:
    split = ["pool", "held_out", "held_out", "pool", "pool"]
    table = RunTable.from_frame("mine", runs().assign(split=split), "maximize")
    assert table.pool("large").tolist() == [True, False, True]
    assert table.pool("tiny").tolist() == [False, True]
    assert len(table.mixtures("large")) == 3


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_objectives_are_maximised(direction: str, sign: int) -> None:
    table = RunTable.from_frame("mine", runs(), direction, {"hard": ("math",)})
    assert table.objectives() == {
        "average": {"qa": sign / 2, "math": sign / 2},
        "hard": {"math": sign},
        "qa": {"qa": sign},
        "math": {"math": sign},
    }
    assert list(table.objectives()) == ["average", "hard", "qa", "math"]


def test_rounded_weights_are_renormalised_and_exact_ones_keep_their_bits() -> None:
    frame = runs()
    frame.loc[0, "mixture.web"] = 0.104
    table = RunTable.from_frame("mine", frame, "maximize")
    assert table.notes == (
        "The weights of 1 of 5 runs were renormalised: they summed to 1 only within 0.004.",
        "Columns that are not used: comment.",
    )
    np.testing.assert_allclose(table.mixtures("large").sum(axis=1), 1, rtol=0, atol=1e-15)
    assert table.mixtures("large")[0, 0] == 0.104 / (0.104 + 0.9)
    assert table.mixtures("large")[1].tolist() == [1 / 3, 1 - 1 / 3]
    assert RunTable.from_frame("mine", runs().drop(columns="comment"), "maximize").notes == ()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_reads_back_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(4), 50)
    frame = pd.DataFrame({"fidelity": ["007"] * 25 + ["1e3"] * 25, "cost": [0.1] * 25 + [1.0] * 25})
    for k in range(4):
        frame[f"mixture.d{k}"] = weights[:, k]
    frame["metric.loss"] = rng.standard_normal(50) * 1e-7
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv":
        # As a spreadsheet may write it: a byte order mark and DOS line ends.
        frame.to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    else:
        frame.to_parquet(path)
    table = read_table(path, "minimize")
    assert table.name == "mine" and [f.name for f in table.fidelities] == ["007", "1e3"]
    assert np.array_equal(np.vstack([table.mixtures(0), table.mixtures(1)]), weights)
    assert np.array_equal(table.frame["metric.loss"], frame["metric.loss"])


def drop(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=column)


def put(column: str, value: object, row: int = 2) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].tolist() if column in frame else ["pool"] * len(frame)
        values[row] = value
        return frame.assign(**{column: values})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("fidelity"), "mine: column 'fidelity' is missing"),
        (
            lambda f: f.rename(columns={"cost": "costs"}),
            "'cost' is missing; did you mean 'costs'.*the table has",
        ),
        (lambda f: f.head(0), "mine: has no rows"),
        (drop("mixture.web"), "mine: has 1 columns mixture.<domain>; allowed: at least 2"),
        (lambda f: f.drop(columns=["metric.qa", "metric.math"]), "no column metric.<name>"),
        (lambda f: f.rename(columns={"metric.qa": "metric.average"}), "metric.average has the"),
        (put("fidelity", None), "fidelity is empty in row 3"),
        (put("cost", 0.0), "cost is 0.0 in row 3; allowed: greater than 0"),
        (put("cost", float("inf")), "cost is inf in row 3"),
        (put("mixture.web", -0.001), "mixture.web is -0.001 in row 3; allowed: a weight in"),
        (put("mixture.web", "a lot"), "mixture.web is a lot in row 3; allowed: a weight in"),
        (put("mixture.web", None), "mixture.web is empty in row 3"),
        (put("mixture.web", 0.35), r"weights of row 3 sum to 1.01667; allowed: 1, up to 0.01"),
        (put("metric.qa", None), "metric.qa is missing in row 3; allowed: runs of the target 'lar"),
        (put("metric.qa", "n/a?", row=3), "metric.qa is n/a\\? in row 4; allowed: a finite number"),
        (put("metric.qa", float("-inf"), row=3), "metric.qa is -inf in row 4"),
        (put("split", ""), "split is empty in row 3; allowed: pool, held_out"),
        (put("metric_se.mth", 0.1), "metric_se.mth is of no metric; did you mean 'math'"),
        (put("split", "pol"), "split 'pol' in row 3; did you mean 'pool'.*allowed: pool, held_out"),
        (lambda f: f.assign(split="held_out"), "split leaves no run of the target 'large' in the"),
        (lambda f: f.assign(cost=1.0), "'large' and 'tiny' cost the same on average"),
    ],
)
def test_faults_are_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    changed = change(runs())
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"mine{suffix}"
        changed.to_csv(path, index=False) if suffix == ".csv" else _as_text(changed).to_parquet(
            path
        )
        with pytest.raises(UserError, match=message) as caught:
            read_table(path, "maximize")
        assert "\n" not in str(caught.value)


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Parquet columns have one type: mixed ones are text."""
    mixed = [c for c in frame if frame[c].map(lambda value: isinstance(value, str)).any()]
    return frame.astype({column: "string" for column in mixed})


@pytest.mark.parametrize("name", ["NA", "null", "1"])
def test_a_size_may_have_any_name(name: str, tmp_path: Path) -> None:
    frame = runs()
    sizes = frame["fidelity"].replace({"tiny": name})
    frame.assign(fidelity=sizes).to_csv(tmp_path / "mine.csv", index=False)
    assert read_table(tmp_path / "mine.csv", "maximize").fidelities[0].name == name


def test_a_file_may_have_its_columns_in_any_order_and_commas_to_spare(tmp_path: Path) -> None:
    lines = [
        "split,fidelity,cost,mixture.a,mixture.b,metric.x",
        "pool,large,2,0.5,0.5,3,",
        "held_out,large,2,1,0,2,",
        "pool,small,1,1,0,1,",
    ]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    table = read_table(tmp_path / "mine.csv", "maximize")
    assert [fidelity.name for fidelity in table.fidelities] == ["small", "large"]
    assert table.pool("large").tolist() == [True, False]


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    contents = {"empty.csv": b"", "latin.csv": b"fidelity,cost\n\xe9,1\n", "broken.parquet": b"PAR"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "twice.csv").write_text("fidelity,cost,mixture.a,mixture.a\nx,1,0.5,0.5\n")
    # As R writes row names: pandas would take them for an index, and shift all columns.
    lines = ["fidelity,cost,mixture.a,mixture.b,metric.x", "1,large,1,0.5,0.5,3", "2,small,2,1,0,3"]
    (tmp_path / "long.csv").write_text("\n".join(lines))
    for name, message in {
        "empty.csv": "cannot be read as a run table",
        "latin.csv": "not UTF-8 text",
        "broken.parquet": "cannot be read as a run table",
        "long.csv": "cannot be read as a run table .rows have more fields than the header",
        "twice.csv": "column 'mixture.a' occurs twice",
        "absent.csv": "cannot be read as a run table .*No such file",
        "table.xlsx": "allowed: .csv or .parquet",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            read_table(tmp_path / name, "maximize")
        assert "\n" not in str(caught.value)


def test_direction_and_groups_are_checked() -> None:
    with pytest.raises(UserError, match="direction: 'up' is not one of"):
        RunTable.from_frame("mine", runs(), "up")
    with pytest.raises(UserError, match="group 'hard' names no metric 'maths'"):
        RunTable.from_frame("mine", runs(), "maximize", {"hard": ("maths",)})


def test_the_documented_example_is_a_table(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "run_tables.md").read_text()
    (tmp_path / "runs.csv").write_text(text.split("```csv\n")[1].split("```")[0])
    table = read_table(tmp_path / "runs.csv", "maximize")
    assert [f.name for f in table.fidelities] == ["tiny", "small", "large"]
    assert table.domains == ("code", "web") and table.metrics == ("qa", "math")
