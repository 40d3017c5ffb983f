from __future__ import annotations

import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus import check_settings
from admire_pipeline.training.corpus.settings import CorpusSettings

TWO = {"a": {"path": "a.txt"}, "b": {"path": "b.txt"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"domains": {"a": {"path": "x"}}}, "corpus.domains: 1 of 1 domains train; allowed: 2"),
        (
            {"domains": {**TWO, "b": {"path": "x", "use": "validation"}}},
            "corpus.domains: 1 of 2 domains train",
        ),
        ({"domains": {**TWO, "c": {}}}, "corpus.domains.c: no source given; allowed: exactly one"),
        (
            {"domains": {**TWO, "c": {"path": "x", "embedded": "web"}}},
            "corpus.domains.c: embedded and path given; allowed: exactly one",
        ),
        (
            {"domains": {**TWO, "c": {"embedded": "pyton"}}},
            "corpus.domains.c: embedded='pyton' is unknown; did you mean 'python'? allowed: ",
        ),
        (
            {"domains": {**TWO, "c": {"path": "x", "txt": "body"}}},
            "corpus.domains.c.txt: unknown key; did you mean 'text'?",
        ),
        (
            {"domains": {**TWO, "c": {"path": "x", "files": "y"}}},
            "corpus.domains.c: files is allowed only together with huggingface",
        ),
        (
            {"domains": {**TWO, "c": {"embedded": "web", "where": {"a": 1}}}},
            "corpus.domains.c: where is allowed only together with path or huggingface",
        ),
        (
            {"domains": {**TWO, "c": {"huggingface": "x/y", "validation": "z"}}},
            "validation is allowed only together with path, or with huggingface and files",
        ),
        (
            {"domains": {**TWO, "c": {"path": "x", "max_bytes": 0}}},
            "corpus.domains.c.max_bytes: 0 is not allowed; allowed: greater than 0",
        ),
        ({"domains": TWO, "tokeniser": "x"}, "corpus.tokeniser: unknown key; did you mean 'tok"),
        (
            {"domains": {**TWO, "A": {"path": "x"}}},
            "corpus.domains: names 'a' and 'A' differ only in case",
        ),
        ({"domains": {**TWO, "c:d": {"path": "x"}}}, "name 'c:d' is no MLflow key; allowed: up to"),
        ({"domains": {**TWO, "c/../d": {"path": "x"}}}, "name 'c/../d' is no MLflow key"),
        ({"domains": {**TWO, "/c": {"path": "x"}}}, "name '/c' is no MLflow key"),
        ({"domains": {**TWO, "c" * 101: {"path": "x"}}}, "is no MLflow key"),
        (
            {"domains": TWO, "validation_fraction": 1},
            "corpus.validation_fraction: 1 is not allowed; allowed: less",
        ),
        ({"domains": TWO, "workers": 0}, "corpus.workers: 0 is not allowed; allowed: greater than"),
        ({}, "corpus.domains: missing"),
        (
            {"domains": {n: {"path": "x", "use": "train"} for n in "ab"}},
            "corpus: domains: use is train in all",
        ),
        (
            {"domains": {**TWO, "c": {"embedded": "web", "validation": "x"}}},
            "corpus.domains.c: validation is allowed only together with path",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_key_and_what_is_allowed(config, message):
    with pytest.raises(UserError) as error:
        check_settings(config)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("corpus")


def test_names_that_mlflow_takes_pass():
    from mlflow.utils.validation import _validate_param_name

    names = ["a b", "a.b-c_1", "web/css", "9"]
    check_settings({"domains": {name: {"path": "x"} for name in names}})
    for name in names:
        _validate_param_name(f"mixture.{name}")


def test_workers_default_to_the_cores_that_there_are():
    assert CorpusSettings.model_validate({"domains": TWO}).processes >= 1
    assert CorpusSettings.model_validate({"domains": TWO, "workers": 3}).processes == 3
