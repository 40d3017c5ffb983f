"""The Hub's token: taken in, handed on, never shown."""

from __future__ import annotations

import base64
import io
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from admire_pipeline import credentials
from admire_pipeline.credentials import (
    TRACKING_LOGIN,
    TRACKING_URI,
    MaskedRecord,
    export_login,
    export_token,
    mask_logs,
    masked,
)
from admire_pipeline.errors import UserError
from admire_pipeline.training.corpus.errors import one_line
from tests.conftest import ROOT, Project

TOKEN = "hf_PLANTED"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        # Set first, so that what a test sets is taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(credentials, "_known", set())


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
    assert masked(text) == one_line(ValueError(text)) == "refused: Bearer ***"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "MYSQL_PWD",
        "OPENAI_API_KEY",
        "Some_Token",
        "A_SECRET",
    ],
)
def test_what_is_named_like_a_secret_is_masked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "PLANTED")
    monkeypatch.setenv(f"{name}_FILE", "/run/secrets/it")
    monkeypatch.setenv("LONGER_TOKEN", "PLANTED and more")
    assert masked("PLANTED and more, PLANTED in /run/secrets/it") == "***, *** in /run/secrets/it"


def test_what_is_too_short_for_a_secret_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert masked("trial-101") == "trial-101"


def test_other_credentials_are_masked() -> None:
    s3 = {
        "key": "the name of it",
        "secret": "PLANTED-1",
        "client_kwargs": {"sas_token": "PLANTED-2"},
    }
    export_token({"s3": s3, "database": {"con": "postgresql://me:PLANTED-3@host/db"}})
    text = "the name of it: PLANTED-1 PLANTED-2 postgresql://me:PLANTED-3@host/db"
    assert masked(text) == "the name of it: *** *** postgresql://host/db"


@pytest.mark.parametrize(
    ("uri", "bare"),
    [
        ("http://user:pa@ss@host:5000/x", "http://host:5000/x"),
        ("http://u:p/a#s@s@host/x failed", "http://host/x failed"),
        ("http://me@corp.org:pass@host/x", "http://host/x"),
        ("https://token@host/x", "https://host/x"),
        ("to http://u:p@host:1/a (http://u:p@host)", "to http://host:1/a (http://host)"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://db/x"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        (
            "hf://datasets/team/letters@1a2b/train.jsonl",
            "hf://datasets/team/letters@1a2b/train.jsonl",
        ),
        ("Qwen/Qwen2.5-0.5B@060db64", "Qwen/Qwen2.5-0.5B@060db64"),
    ],
)
def test_uris_lose_user_and_password(uri: str, bare: str) -> None:
    assert masked(uri) == bare


def test_the_login_of_a_server_goes_into_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow prints the URI that it is given."""
    for name in (TRACKING_URI, *TRACKING_LOGIN):
        monkeypatch.setenv(name, "before")
    login = "https://us%40er:PLAN%2FTED@host:5000/mlflow"
    assert export_login(login) == "https://host:5000/mlflow"
    assert [os.environ[name] for name in TRACKING_LOGIN] == ["us@er", "PLAN/TED"]
    assert os.environ[TRACKING_URI] == "before"
    monkeypatch.setenv(TRACKING_URI, login)
    export_login(login)
    assert os.environ[TRACKING_URI] == "https://host:5000/mlflow"
    sent = base64.b64encode(b"us@er:PLAN/TED").decode()
    assert masked(f"PLAN/TED Basic {sent}") == "*** Basic ***"


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000/a@b",
        "http://[::1]:5000",
        "http://user:se/cret@host",  # not how a URI is written: the server is not found
        "postgresql://admire:PLANTED@host/db",
        "databricks://profile",
    ],
)
def test_any_other_uri_is_as_it_was(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv(TRACKING_LOGIN[1], "before")
    assert export_login(uri) == uri
    assert os.environ[TRACKING_LOGIN[1]] == "before"


def test_passwords_of_databases_are_masked() -> None:
    export_login("postgresql://admire:PLANTED-db@host/db")
    assert masked("refused: PLANTED-db") == "refused: ***"
    # SQLAlchemy would look for the host PLANTED@host, and tell that it is not there.
    with pytest.raises(UserError, match="cannot use 'postgresql://host/db'.*allowed: %40") as e:
        export_login("postgresql://admire:my@PLANTED@host/db")
    assert "PLANTED" not in str(e.value)


def test_the_last_traceback_is_masked_with_its_causes() -> None:
    code = """
        from admire_pipeline.credentials import mask_tracebacks
        mask_tracebacks()
        try:
            raise OSError(13, "while handling hf_PLANTED")
        except OSError as error:
            error.add_note("with hf_PLANTED")
            raise KeyError("hf_PLANTED") from ValueError(["because of hf_PLANTED"])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "HF_TOKEN": TOKEN}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert TOKEN not in done.stderr
    assert "KeyError: '***'" in done.stderr and "ValueError: ['because of ***']" in done.stderr


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
