"""`accelerate launch` for one machine: where its processes meet is open to this machine alone.

torch's own store listens on every interface and asks nobody who he is, and what the processes say
to each other they unpickle.
"""

from __future__ import annotations

import os
import socket
import sys

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

NAME = "loopback"
ADDRESS = "127.0.0.1"
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Where torch's ways of talking look for the interface to listen on."""
TIMEOUT = 600
"""Seconds that the processes may take to come."""


class LoopbackRendezvous(StaticTCPRendezvous):
    """A meeting place on a free port of loopback."""

    def __init__(self, parameters: RendezvousParameters) -> None:
        super().__init__(ADDRESS, 0, 0, 1, parameters.run_id, TIMEOUT)

    def get_backend(self) -> str:
        """See `RendezvousHandler.get_backend`."""
        return NAME

    def next_rendezvous(self) -> RendezvousInfo:
        """See `RendezvousHandler.next_rendezvous`."""
        if self._store is None:
            listener = socket.create_server((ADDRESS, 0))
            self.master_port = listener.getsockname()[1]
            self._store = TCPStore(
                ADDRESS, self.master_port, is_master=True, master_listen_fd=listener.detach()
            )
        return super().next_rendezvous()


def main() -> None:
    """Launch what the arguments say, as `accelerate launch` does."""
    from accelerate.commands.launch import main as launch

    rendezvous_handler_registry.register(NAME, LoopbackRendezvous)
    sys.argv[1:1] = ["--rdzv_backend", NAME]
    if sys.platform == "linux":
        for name in INTERFACES:
            os.environ.setdefault(name, "lo")
    launch()


if __name__ == "__main__":
    main()
