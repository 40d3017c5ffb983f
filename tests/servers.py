"""Real servers for tests, on loopback: Postgres as Debian packages it, and MLflow's own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

NO_POSTGRES = "Postgres is not installed (Debian: apt-get install postgresql)"
DEADLINE = 300.0
"""Seconds that a server may take to answer; far more than it needs."""


def find_postgres() -> Path | None:
    """Folder of Postgres's programs: from PATH, else the newest of Debian's; None without one."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    # Debian keeps initdb out of PATH, one folder for each major version.
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Process:
    """A server to stop, to kill and to start again; a Ctrl-C of the tests does not reach it."""

    def __init__(self, log: Path, user: str | None = None) -> None:
        self._log = log
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        assert self._process is None, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=cwd,
                user=self._user,
                extra_groups=None if self._user is None else [],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self, deadline: float) -> None:
        """Fail with the server's own words where it has ended or is late."""
        assert self._process is not None
        ended, late = self._process.poll() is not None, time.monotonic() > deadline
        assert not ended and not late, f"{'ended' if ended else 'late'}: {self._log.read_text()}"

    def terminate(self, signal_number: int) -> None:
        """Ask it to end, and wait until it has; nothing where it does not run."""
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """End it and all that it has started, at once; nothing where it does not run."""
        if self._process is not None:
            # Postgres's processes leave its process group.
            family = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(60)
            self._process = None


class Postgres:
    """A Postgres cluster of the test's own, in a temporary folder, with a password.

    Example:
        >>> with Postgres() as postgres:
        ...     uri = postgres.create_database()
    """

    def __init__(self) -> None:
        binaries = find_postgres()
        assert binaries is not None, "find_postgres() tells whether there is one"
        self._binaries = binaries
        # It refuses to run as root.
        user = "nobody" if os.getuid() == 0 else None
        # A folder of pytest is its user's alone.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        password = secrets.token_hex(16)
        word = self._folder / "password"
        word.write_text(password)
        if user is not None:
            account = pwd.getpwnam(user)
            for path in (self._folder, word):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._cluster = self._folder / "cluster"
        command = [str(binaries / "initdb"), "--pgdata", str(self._cluster), "--username=admire"]
        command += ["--auth=scram-sha-256", f"--pwfile={word}", "--encoding=UTF8", "--locale=C"]
        command += ["--no-sync"]
        done = subprocess.run(
            command,
            cwd=self._folder,
            user=user,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.port = free_port()
        self._server = f"postgresql://admire:{password}@127.0.0.1:{self.port}"
        self._process = Process(self._folder / "log", user)
        self._databases = 0

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, also again after `stop` or `kill`, on the same port with the same data."""
        command = [str(self._binaries / "postgres"), "-D", str(self._cluster), "-p", str(self.port)]
        # A test outlives no power cut: not waiting for the disk makes it several times as fast.
        for setting in ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"):
            command += ["-c", setting]
        self._process.run(command, {}, self._folder)
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                psycopg.connect(f"{self._server}/postgres", connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                self._process.check(deadline)
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in order: who is connected is cut off."""
        self._process.terminate(signal.SIGINT)

    def kill(self) -> None:
        """What a crash of the machine leaves: no process has a last word."""
        self._process.kill()

    def create_database(self) -> str:
        """URI of a new, empty database."""
        self._databases += 1
        name = f"campaign_{self._databases}"
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self._server}/{name}"


class MlflowServer:
    """A real MLflow server, which keeps the artifacts too.

    Args:
        folder: For its artifacts, its log, and its SQLite file where no database is given.
        database: URI of the database behind it; None for SQLite.
        workers: Processes that answer.
    """

    def __init__(self, folder: Path, database: str | None = None, workers: int = 1) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.artifacts = folder / "artifacts"
        self._folder = folder
        self._database = database or f"sqlite:///{folder}/mlflow.db"
        self._workers = workers
        folder.mkdir(parents=True, exist_ok=True)
        self._process = Process(folder / "server.log")

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, also again after `stop` or `kill`, on the same port with the same runs."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(self._workers)]
        command += ["--artifacts-destination", str(self.artifacts)]
        # As an environment variable, since it may hold a password.
        environment = {
            "MLFLOW_BACKEND_STORE_URI": self._database,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self._process.run(command, environment, self._folder)
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                self._process.check(deadline)
                time.sleep(0.3)

    def stop(self) -> None:
        """Stop it in order: requests under way are answered."""
        self._process.terminate(signal.SIGTERM)

    def kill(self) -> None:
        """End all of its processes at once."""
        self._process.kill()
