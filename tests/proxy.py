"""A way to a real server that fails on demand: refusals, errors, lost answers, absence."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import RLock, Thread
from typing import Literal

Kind = Literal["404", "500", "502", "reset", "lost", "cut", "slow"]
"""What becomes of a request.

404, 500, 502: it is answered so, and is not carried out.
reset: its connection is; it is not carried out.
lost: it is carried out, and its connection is reset instead of the answer.
cut: it is carried out, and its connection ends in the midst of the answer.
slow: it is carried out, and answered after `SLOW` seconds.
"""

ERRORS = ("404", "500", "502")
SLOW = 2.0
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
"""Headers of one connection, which the next one makes itself."""

PORTS = range(20000, 32768)
"""No system gives these to outgoing connections: they stay free while the proxy is away."""


@dataclass(frozen=True)
class Request:
    """What the proxy has seen."""

    method: str
    path: str
    body: bytes

    def holds(self, text: str) -> bool:
        """Whether its path or its body does."""
        return text in self.path or text.encode() in self.body


class Proxy:
    """Hands requests on to a server on loopback, and what it answers back, unless told otherwise.

    Args:
        port: Of the server.

    Attributes:
        seen: Every request that has come in, refused ones too.
        faults: How many requests met each kind of fault.
        gone: Moments (`time.monotonic`) at which it went away.
        returned: Moments at which it was back.
    """

    def __init__(self, port: int) -> None:
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.seen: list[Request] = []
        self.faults: Counter[Kind] = Counter()
        self.gone: list[float] = []
        self.returned: list[float] = []
        self._target = port
        self._lock = RLock()
        self._server: _Server | None = None
        self._decide: Callable[[Request], Kind | None] = lambda _: None
        self._absences: deque[tuple[str, float | None, bool]] = deque()

    def __enter__(self) -> Proxy:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def be_flaky(self, share: float, seed: int, kinds: Sequence[Kind]) -> None:
        """Let so many of the requests from here on meet a fault, drawn at random."""
        rng = random.Random(seed)

        def decide(_: Request) -> Kind | None:
            return rng.choice(kinds) if rng.random() < share else None

        self._decide = decide

    def fail(self, kind: Kind, when: Callable[[Request], bool], times: int = 1) -> None:
        """Let the next requests of which this holds meet a fault."""
        left = [times]

        def decide(request: Request) -> Kind | None:
            if left[0] == 0 or not when(request):
                return None
            left[0] -= 1
            return kind

        self._decide = decide

    def be_calm(self) -> None:
        """No faults from here on."""
        self._decide = lambda _: None

    def away(self, seconds: float | None = None) -> None:
        """Refuse connections for so long; None: until `back`."""
        with self._lock:
            self._hang_up()
            self.gone.append(time.monotonic())
        if seconds is not None:
            Thread(target=self._return, args=(seconds,), daemon=True).start()

    def away_at(
        self, sign: str, seconds: float | None = None, *, carried_out: bool = False
    ) -> None:
        """Go away as the first request with this in its path or body comes.

        Called several times, one absence after the other: each waits for the one before.

        Args:
            sign: The text.
            seconds: See `away`.
            carried_out: The request is, though nobody hears of it.
        """
        self._absences.append((sign, seconds, carried_out))

    def back(self) -> None:
        """Answer again."""
        with self._lock:
            if self.is_away:
                self._listen()
                self.returned.append(time.monotonic())

    @property
    def is_away(self) -> bool:
        """Whether it refuses connections."""
        return self._server is None

    def _return(self, seconds: float) -> None:
        time.sleep(seconds)
        self.back()

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), self)
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _hang_up(self) -> None:
        if (server := self._server) is not None:
            self._server = None
            server.socket.close()  # nobody is accepted from here on
            Thread(target=_close, args=(server,), daemon=True).start()

    def decide(self, request: Request) -> tuple[bool, Kind | None]:
        """Whether to hand a request on, and what to do instead of answering it."""
        with self._lock:
            self.seen.append(request)
            if self.is_away:
                return False, "reset"
            if self._absences and request.holds(self._absences[0][0]):
                _, seconds, carried_out = self._absences.popleft()
                self.away(seconds)
                return carried_out, "lost" if carried_out else "reset"
            kind = self._decide(request)
            if kind is not None:
                self.faults[kind] += 1
            return kind not in (*ERRORS, "reset"), kind

    def ask(self, request: Request, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """What the server answers."""
        connection = HTTPConnection("127.0.0.1", self._target, timeout=120)
        try:
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP}
            return answer.status, kept, answer.read()
        except (OSError, HTTPException):
            return 502, {}, b""
        finally:
            connection.close()


def _free_port() -> int:
    while True:
        with suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", random.choice(PORTS)))
            return int(free.getsockname()[1])


def _close(server: _Server) -> None:
    server.shutdown()
    server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or a connection that was reset on purpose, is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        with suppress(OSError):
            super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `seen` is the log."""

    def _handle(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, body)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
        carried_out, kind = proxy.decide(request)
        status, kept, answer = proxy.ask(request, headers) if carried_out else (0, {}, b"")
        if kind in ERRORS:
            status = int(kind)
        elif kind == "slow":
            time.sleep(SLOW)
        elif kind in ("reset", "lost"):
            return self._reset()
        self.send_response(status)
        for name, value in kept.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer[: len(answer) // 2] if kind == "cut" else answer)
        self.close_connection |= kind == "cut"

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _reset(self) -> None:
        """End the connection as a machine that has gone does."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
