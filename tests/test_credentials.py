"""The Hub's token: taken in, handed on, never shown."""

from __future__ import annotations

import io
import logging
import os
import subprocess
from collections.abc import Iterator

import pytest

from admire_pipeline.credentials import MaskedRecord, export_token, mask_errors, mask_logs, masked
from admire_pipeline.errors import UserError
from admire_pipeline.tracking.server import without_secrets
from admire_pipeline.training.corpus.errors import one_line
from tests.conftest import ROOT, Project

TOKEN = "hf_PLANTED"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        # Set first, so that what a test sets is taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def plain_records() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


def test_the_token_goes_into_the_environment() -> None:
    export_token({"huggingface": {"token": TOKEN}, "other": {"password": "x"}})
    assert os.environ["HF_TOKEN"] == TOKEN


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hf_of_the_environment")
    export_token({"huggingface": {"token": TOKEN}})
    assert TOKEN not in os.environ.values()


@pytest.mark.parametrize("credentials", [{}, None, {"other": {}}, {"huggingface": None}])
def test_no_token_is_no_fault(credentials) -> None:
    export_token(credentials)
    assert "HF_TOKEN" not in os.environ


@pytest.mark.parametrize(
    "given",
    [
        TOKEN,
        [TOKEN],
        {},
        {"toekn": TOKEN},
        {"token": TOKEN, "user": "me"},
        {"token": [TOKEN]},
        {"token": None},
        {"token": ""},
        {"token": f"{TOKEN} {TOKEN}"},
        {"token": f"{TOKEN}\n"},
    ],
)
def test_anything_else_is_refused_and_not_shown(given) -> None:
    with pytest.raises(UserError, match=r"^credentials\.huggingface: .*allowed: \{token: ") as e:
        export_token({"huggingface": given})
    assert TOKEN not in str(e.value) and "HF_TOKEN" not in os.environ


def test_a_faulty_credentials_file_is_one_line(project: Project) -> None:
    path = project.folder / "conf" / "test" / "credentials.yml"
    for text in (f"huggingface: {{key: {TOKEN}}}\n", f"huggingface: {{token: {TOKEN}\n  - x"):
        path.write_text(text)
        for options in ([], ["--verbose"]):
            result = project.kedro("run", "--pipelines=admire_step", *options)
            assert result.exit_code == 1
            shown = result.output if not options else repr(result.exception)
            assert "credentials" in shown and TOKEN not in result.output + shown
            assert options or result.output.count("\n") == 1
    assert project.runs() == []


def test_messages_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"refused: Bearer {TOKEN}"
    assert masked(text) == text
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (
        masked(text)
        == without_secrets(text)
        == one_line(ValueError(text))
        == ("refused: Bearer ***")
    )


def test_errors_are_masked_with_their_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        try:
            raise OSError(13, f"while handling {TOKEN}")
        except OSError:
            raise KeyError(TOKEN) from ValueError(f"because of {TOKEN}", 3)
    except KeyError as error:
        caught = error
    mask_errors(caught)
    assert caught.args == ("***",)
    assert caught.__cause__ is not None and caught.__cause__.args == ("because of ***", 3)
    assert caught.__context__ is not None
    assert str(caught.__context__) == "[Errno 13] while handling ***"


def test_log_lines_are_masked_with_their_tracebacks(
    monkeypatch: pytest.MonkeyPatch, plain_records: None
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    mask_logs()
    assert logging.getLogRecordFactory() is MaskedRecord
    stream = io.StringIO()
    logger = logging.Logger("of a library that does not propagate")
    logger.addHandler(logging.StreamHandler(stream))
    try:
        raise ValueError(TOKEN)
    except ValueError:
        logger.exception("sent %s", {"authorization": TOKEN})
    shown = stream.getvalue()
    assert TOKEN not in shown
    assert "sent {'authorization': '***'}" in shown and "ValueError: ***" in shown


@pytest.mark.parametrize("folder", ["local", "test", "base"])
def test_where_the_token_may_stand(project: Project, folder: str) -> None:
    """`conf/local` too, which kedro reads only without `--env`."""
    path = project.folder / "conf" / folder / "credentials.yml"
    path.write_text(f"huggingface: {{token: {TOKEN}}}\n")
    project.set("parameters.yml", "campaign.budget", 0)  # ends the run once it has begun
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 1
    assert os.environ["HF_TOKEN"] == TOKEN


def test_the_environments_folder_goes_before_the_local_one(project: Project) -> None:
    for folder, token in (("local", "hf_of_the_machine"), ("test", TOKEN)):
        path = project.folder / "conf" / folder / "credentials.yml"
        path.write_text(f"huggingface: {{token: {token}}}\n")
    project.set("parameters.yml", "campaign.budget", 0)
    assert project.kedro("run", "--pipelines=admire_step").exit_code == 1
    assert os.environ["HF_TOKEN"] == TOKEN


@pytest.mark.parametrize("folder", ["local", "base", "tulu"])
def test_git_ignores_credentials(folder: str) -> None:
    path = f"conf/{folder}/credentials.yml"
    asked = ["git", "-C", str(ROOT), "check-ignore", "--quiet", path]
    assert subprocess.run(asked, check=False).returncode == 0
