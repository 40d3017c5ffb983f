from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from admire_pipeline.process import is_gone, name_process
from tests.conftest import Project, kill_commands

NAME = "from admire_pipeline.process import name_process; print(name_process(), flush=True)"


def test_this_process_lives_and_another_machines_is_not_known() -> None:
    machine, pid, started = name_process().split("|")
    assert is_gone(name_process()) is False
    assert is_gone(f"not-{machine}|{pid}|{started}") is None


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux has containers")
def test_containers_of_one_name_are_not_one_machine() -> None:
    """A pid says nothing in another container, nor after a boot, whatever the host is called."""
    machine, pid, started = name_process().split("|")
    host, boot, table = machine.split("/", maxsplit=2)
    assert host == platform.node() and table.startswith("pid:[")
    assert is_gone(f"{host}/{boot}/pid:[1]|{pid}|{started}0") is None
    assert is_gone(f"{host}/another boot/{table}|{pid}|{started}0") is None


def test_a_pid_that_was_given_anew_is_another_process() -> None:
    host, pid, started = name_process().split("|")
    assert is_gone(f"{host}|{pid}|{started}0") is True
    assert is_gone(f"{host}|{pid}|") is True
    assert is_gone(f"{host}|no pid|{started}") is True


def test_a_clock_that_is_set_changes_nothing(monkeypatch) -> None:
    """The jump alone is faked: the start must not be read from the clock."""
    name = name_process()
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() + 3600)
    assert is_gone(name) is False


def test_one_that_was_killed_is_gone_though_nobody_waits_for_it() -> None:
    code = f"{NAME}; import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert is_gone(name) is False
    os.kill(process.pid, signal.SIGKILL)
    # Not waited for here: it stays in the table of processes.
    deadline = time.monotonic() + 10
    while not is_gone(name) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(name) is True
    process.wait()
    assert is_gone(name) is True


def test_no_command_outlives_the_test_that_has_started_it(project: Project) -> None:
    """Of this suite: one that fails would leave its workers at work beside all later tests."""
    command = project.start("admire", "ui", "--port", "0")
    assert command.poll() is None
    kill_commands()
    assert command.wait(20) == -signal.SIGKILL
