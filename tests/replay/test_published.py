from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from admire_pipeline.errors import UserError
from admire_pipeline.replay import read_pile, read_tulu
from admire_pipeline.replay.download import RUNS_DIR, PublishedFile, locate

published = pytest.mark.skipif(
    RUNS_DIR not in os.environ, reason=f"{RUNS_DIR} does not name a folder of published tables"
)


@published
def test_tulu() -> None:
    table = read_tulu()
    assert [(f.name, round(f.cost, 4)) for f in table.fidelities] == [
        ("0.5B", 0.1774),
        ("3B", 0.4817),
        ("7B", 1.0),
    ]
    assert [len(table.mixtures(m)) for m in range(3)] == [256, 128, 76]
    assert table.mixtures(2).shape[1] == 19 and table.values(2).shape[1] == 17
    assert table.pool("7B").tolist() == [True] * 60 + [False] * 16
    assert table.pool("0.5B").all() and table.pool("3B").all()
    assert list(table.objectives())[:4] == ["average", "average_id", "average_ood", "minerva_math"]
    assert len(table.objectives()) == 20
    assert [len(table.groups[g]) for g in ("average_id", "average_ood")] == [10, 7]
    assert table.groups["average_ood"][0] == "arc_challenge"
    assert "rows 10, 99, 172" in table.notes[0] and "renormalised" in table.notes[1]


@published
def test_tulu_averages_are_those_of_the_metrics() -> None:
    """The best of the target, and a row whose recorded average is wrong."""
    table = read_tulu()
    scores = table.values("7B") @ np.array(list(table.objectives()["average"].values()))
    assert np.round(np.sort(scores)[[-1, -2]], 5).tolist() == [0.59382, 0.59224]
    assert round(float(table.values("0.5B")[10].mean()), 4) == 0.3269


@published
def test_tulu_sizes_share_mixtures_bit_for_bit() -> None:
    table = read_tulu()
    small, middle, large = ({tuple(w) for w in table.mixtures(m)} for m in range(3))
    assert large <= middle <= small


@published
def test_pile() -> None:
    table = read_pile()
    assert [(f.name, f.cost) for f in table.fidelities] == [("1M", 0.001), ("60M", 0.06), ("1B", 1)]
    assert [len(table.mixtures(m)) for m in range(3)] == [768, 256, 64]
    assert table.mixtures(2).shape[1] == 17 and table.values(2).shape[1] == 13
    assert table.pool("1B").tolist() == [True] * 48 + [False] * 16
    assert table.pool("60M").all()
    assert len(table.objectives()) == 14 and table.objectives()["pile_cc"] == {"pile_cc": -1.0}
    assert np.array_equal(table.mixtures("1M")[512:], table.mixtures("60M"))
    for m in range(3):
        np.testing.assert_allclose(table.mixtures(m).sum(axis=1), 1, rtol=0, atol=1e-9)
    assert table.pool("1M").tolist() == [True] * 512 + [False] * 256


CONTENT = b"index,loss\n1,2.5\n" * 20_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server with one file."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "runs.csv").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """`cut.csv` ends in the middle, as when a connection is lost."""
        if self.path != "/cut.csv":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100_000])


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def published_file(url: str, content: bytes = CONTENT) -> PublishedFile:
    return PublishedFile("sub/runs.csv", url, hashlib.sha256(content).hexdigest())


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_download_once(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNS_DIR, raising=False)
    cache = tmp_path / "cache"
    path = locate(published_file(f"{server}/runs.csv"), cache)
    assert path == cache / "sub" / "runs.csv" and path.read_bytes() == CONTENT
    assert files(cache) == ["sub/runs.csv"]
    assert locate(published_file(f"{server}/gone.csv"), cache) == path


def test_wrong_checksum_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNS_DIR, raising=False)
    other = published_file(f"{server}/runs.csv", b"another")
    with pytest.raises(UserError, match="runs.csv: not the published file .*allowed: the file of"):
        locate(other, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


@pytest.mark.parametrize("name", ["cut.csv", "gone.csv"])
def test_a_failed_download_leaves_nothing(
    name: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNS_DIR, raising=False)
    with pytest.raises(UserError, match=f"{name} cannot be downloaded .*ADMIRE_RUNS_DIR") as caught:
        locate(published_file(f"{server}/{name}"), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "cache") == []


def test_own_folder_comes_first(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the user's is used where it stands, and must be the published one."""
    own = tmp_path / "own" / "sub" / "runs.csv"
    own.parent.mkdir(parents=True)
    own.write_bytes(CONTENT)
    monkeypatch.setenv(RUNS_DIR, str(tmp_path / "own"))
    file = published_file(f"{server}/gone.csv")
    assert locate(file, tmp_path / "cache") == own
    assert not (tmp_path / "cache").exists()
    own.write_bytes(CONTENT.replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match="sub/runs.csv: not the published file"):
        locate(file, tmp_path / "cache")
    own.unlink()
    assert locate(published_file(f"{server}/runs.csv"), tmp_path / "cache").exists()
