"""The Dockerfile and compose.yaml as Docker would run them, in Linux namespaces by bubblewrap.

Tests have no Docker engine. A container here sees what the image's COPY lines take of a checkout,
the packages of the tests in place of those that its RUN lines install, and folders for volumes;
nothing else can be written. It runs as the image's user, without capabilities, with processes, a
hostname and an environment of its own. All share one network that nothing outside reaches, where
services have their names.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from docker.utils.build import exclude_paths

from tests.servers import DEADLINE, find_postgres

ROOT = Path(__file__).resolve().parents[1]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of the base images."""
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
"""What stands in for the base images' files."""
POSTGRES_USER = "999"
"""Its number in the official image."""
# In short what the entrypoint of the official image does.
POSTGRES = """
set -e
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 \\
        --encoding=UTF8 --locale=C >/dev/null
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres >/dev/null
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


def why_not() -> str | None:
    """Why containers cannot be had here; None where they can."""
    if shutil.which("bwrap") is None or shutil.which("nsenter") is None:
        return "bubblewrap is not installed (Debian: apt-get install bubblewrap)"
    probe = ["bwrap", "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return "this machine lets nobody make namespaces"
    return None


def read_dockerfile(text: str) -> list[list[tuple[str, str]]]:
    """Instructions and their arguments, by stage, from the first FROM on."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stages: list[list[tuple[str, str]]] = []
    for line in lines.replace("\\\n", " ").splitlines():
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            stages.append([])
        if instruction and stages:
            stages[-1].append((instruction, " ".join(argument.split())))
    return stages


def interpolate(value: Any, environment: Mapping[str, str]) -> Any:
    """Compose's ${NAME}, ${NAME:-default} and ${NAME:?error} in a part of its file."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        name, kind, word = found.groups()
        if set_to := environment.get(name):
            return set_to
        if kind == "?":
            raise KeyError(f"{name}: {word}")
        return word or ""

    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", replace, value)


def seconds(duration: str) -> float:
    """Compose's 2m or 30s."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


class Image:
    """What the last stage of a Dockerfile makes of a build context, but for its RUN lines."""

    def __init__(self, context: Path, folder: Path) -> None:
        *_, last = read_dockerfile((context / "Dockerfile").read_text())
        ignored = (context / ".dockerignore").read_text().splitlines()
        sent = sorted(exclude_paths(str(context), [line for line in ignored if line[:1] != "#"]))
        self.folder = folder
        self.environment = {"PATH": PATH}
        for instruction, argument in last:
            match instruction:
                case "WORKDIR":
                    self.workdir = argument
                case "USER":
                    self.user = argument
                case "CMD":
                    self.command = json.loads(argument)
                case "ENV":
                    for name, value in (word.split("=", 1) for word in shlex.split(argument)):
                        self.environment[name] = value.replace("$PATH", PATH)
                case "COPY":
                    # A stage before the last copies from the context to the same places.
                    self._copy(context, argument, sent)
        (folder / "data").mkdir()

    def _copy(self, context: Path, argument: str, sent: Sequence[str]) -> None:
        *sources, target = argument.removeprefix("--from=build ").split()
        for source in (source.removeprefix(f"{self.workdir}/") for source in sources):
            for name in sent:
                if name != source and not name.startswith(f"{source}/"):
                    continue
                within = name if target == "./" else name.removeprefix(source).lstrip("/")
                if (context / name).is_file():
                    place = self.folder / target / within
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(context / name, place)


class CommandError(Exception):
    """A command failed; with what it said."""


class Container:
    """A service that runs."""

    def __init__(self, command: Sequence[str], grace: float, log: Path) -> None:
        self._grace = grace
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # bwrap stays outside and waits for the first process of the inside.
        self._first = self._child(psutil.Process(self._process.pid))
        self.pid = self._first.pid

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def runs(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """The exit status, once it has ended."""
        return self._process.wait(DEADLINE)

    def stop(self) -> int:
        """As `docker stop` does: SIGTERM, after the grace period SIGKILL; the exit status."""
        with suppress(psutil.NoSuchProcess):
            # An init of Docker passes signals on to what it started; that of bwrap does not.
            of_bwrap = self._first.name() == "bwrap"
            (self._child(self._first) if of_bwrap else self._first).terminate()
        try:
            return self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        with suppress(psutil.NoSuchProcess):
            self._first.kill()
        self._process.wait()

    def _child(self, process: psutil.Process) -> psutil.Process:
        deadline = time.monotonic() + DEADLINE
        while not (children := process.children()):
            assert self.runs() and time.monotonic() < deadline, self.output()
            time.sleep(0.01)
        return children[0]


class Composition:
    """compose.yaml of a project's folder, with what its .env sets.

    Args:
        project: Folder with compose.yaml, Dockerfile and what they mount.
        environment: Variables of .env.
        scratch: Folder for the image, the volumes and the logs.
    """

    def __init__(self, project: Path, environment: Mapping[str, str], scratch: Path) -> None:
        self._project = project
        self._environment = environment
        self._scratch = scratch
        self._image = Image(project, scratch / "image")
        file = yaml.safe_load((project / "compose.yaml").read_text())
        self.services: dict[str, Any] = interpolate(file["services"], environment)
        self.volumes = {name: scratch / "volumes" / name for name in file["volumes"]}
        for volume in self.volumes.values():
            volume.mkdir(parents=True)
        self._hosts = scratch / "hosts"
        # One address each, so that what listens on 127.0.0.1 alone is out of the others' reach.
        names = ["localhost", *self.services]
        self._hosts.write_text("".join(f"127.0.0.{n} {name}\n" for n, name in enumerate(names, 1)))
        self._users = scratch / "users"
        users = {"postgres": POSTGRES_USER, "admire": self._image.user}
        lines = [
            f"{name}:x:{number}:{number}::/nowhere:/bin/sh\n" for name, number in users.items()
        ]
        self._users.write_text("".join(lines))
        self._started: list[Container] = []
        self._needed: dict[str, Container] = {}
        command = ["bwrap", "--unshare-user", "--unshare-net", "--dev-bind", "/", "/"]
        command += ["--die-with-parent", "sh", "-c", "echo ready; exec sleep infinity"]
        self._network = Container(command, 1, scratch / "network.log")
        while not self._network.output():
            assert self._network.runs()
            time.sleep(0.01)

    def __enter__(self) -> Composition:
        return self

    def __exit__(self, *_: object) -> None:
        for container in [*self._started, self._network]:
            container.kill()

    def up(self, service: str) -> Container:
        """Start one more container of a service, after what it depends on is healthy."""
        for needed in self.services[service].get("depends_on", {}):
            self.need(needed)
        log = self._scratch / f"{service}-{len(self._started) + 1}.log"
        command = self._command(service)
        grace = seconds(self.services[service]["stop_grace_period"])
        container = Container(self._bwrap(service, command), grace, log)
        self._started.append(container)
        return container

    def need(self, service: str) -> None:
        """See that a service runs and is healthy by its own check."""
        if service in self._needed:
            return
        container = self._needed[service] = self.up(service)
        check = self.services[service]["healthcheck"]["test"]
        assert check[0] == "CMD"
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self.execute(service, *check[1:])
                return
            except CommandError:
                assert container.runs() and time.monotonic() < deadline, container.output()
                time.sleep(0.5)

    def execute(
        self, service: str, *command: str, stdin: Path | None = None, **environment: str
    ) -> bytes:
        """What a command prints in a container like those of a service; it must succeed."""
        done = subprocess.run(
            self._bwrap(service, command, environment),
            stdin=subprocess.DEVNULL if stdin is None else stdin.open("rb"),
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise CommandError(done.stderr.decode())
        return done.stdout

    def _command(self, service: str) -> list[str]:
        if service == "postgres":
            return ["sh", "-c", POSTGRES]
        return list(self.services[service].get("command", self._image.command))

    def _variables(self, service: str) -> dict[str, str]:
        if service == "postgres":
            binaries = find_postgres()
            own = {"PATH": f"{binaries}:{PATH}", "PGDATA": "/var/lib/postgresql/data"}
        else:
            own = self._image.environment
        given = {
            # Without a value it is passed on where it is set.
            name: self._environment.get(name) if value is None else value
            for name, value in self.services[service]["environment"].items()
        }
        return own | {name: value for name, value in given.items() if value is not None}

    def _mounts(self, service: str) -> list[str]:
        mounts = []
        for entry in self.services[service]["volumes"]:
            source, target, *mode = entry.split(":")
            folder = self._project / source if source[0] == "." else self.volumes[source]
            mounts += ["--ro-bind" if mode == ["ro"] else "--bind", str(folder), target]
        return mounts

    def _bwrap(
        self, service: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> list[str]:
        settings = self.services[service]
        ours = service != "postgres"
        user = self._image.user if ours else POSTGRES_USER
        call = ["nsenter", "--preserve-credentials", "--user", "--net"]
        call += [f"--target={self._network.pid}", "bwrap"]
        call += ["--unshare-user", "--uid", user, "--gid", user, "--unshare-pid", "--unshare-ipc"]
        call += ["--unshare-uts", "--hostname", secrets.token_hex(6), "--die-with-parent"]
        call += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        # bwrap is an init unless told otherwise.
        call += [] if settings.get("init") else ["--as-pid-1"]
        for folder in dict.fromkeys((*SYSTEM, sys.prefix, sys.base_prefix)):
            if Path(folder).is_symlink():
                call += ["--symlink", os.readlink(folder), folder]
            elif Path(folder).exists():
                call += ["--ro-bind", folder, folder]
        call += ["--ro-bind", str(self._hosts), "/etc/hosts"]
        call += ["--ro-bind", str(self._users), "/etc/passwd"]
        if ours:
            call += ["--ro-bind", sys.prefix, "/opt/venv"]
            call += ["--ro-bind", str(self._image.folder), self._image.workdir]
            call += ["--chdir", self._image.workdir]
        call += self._mounts(service)
        call += ["--clearenv"]
        for name, value in (self._variables(service) | dict(environment or {})).items():
            call += ["--setenv", name, value]
        return [*call, "--remount-ro", "/", "--", *command]
