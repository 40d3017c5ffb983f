"""What processes listen on."""

from __future__ import annotations

import psutil


def listening(pid: int) -> set[str]:
    """Addresses that a process, and all that it has started, listen on for TCP."""
    process = psutil.Process(pid)
    found = set()
    for member in (process, *process.children(recursive=True)):
        try:
            sockets = member.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found |= {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return found
