from __future__ import annotations

import os

import psutil
from torch.distributed.elastic.rendezvous import RendezvousParameters

from admire_pipeline.training.loopback import NAME, LoopbackRendezvous


def test_processes_of_one_machine_meet_on_loopback() -> None:
    meeting = LoopbackRendezvous(RendezvousParameters(NAME, "", "a trial", 1, 1))
    place = meeting.next_rendezvous()
    assert meeting.next_rendezvous().bootstrap_store_info == place.bootstrap_store_info
    place.store.set("word", "of it")
    assert place.store.get("word") == b"of it"
    sockets = psutil.Process(os.getpid()).net_connections("tcp")
    port = place.bootstrap_store_info.master_port
    listening = [s.laddr.ip for s in sockets if s.status == "LISTEN" and s.laddr.port == port]
    assert listening == ["127.0.0.1"]
