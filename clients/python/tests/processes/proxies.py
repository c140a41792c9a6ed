"""A proxy that loses its connections as a load balancer does: they stay open, and are dead."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class Proxy:
    """Forwards connections to a target, until they are lost."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lost = threading.Event()
        self._sockets: list[socket.socket] = []
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            self._sockets += [near, far]
            lost = self._lost
            for source, sink in ((near, far), (far, near)):
                arguments = (source, sink, lost)
                threading.Thread(target=self._copy, args=arguments, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                if not lost.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            each.close()

    def lose_connections(self) -> None:
        """Connections of now answer nothing any more. New ones work."""
        lost, self._lost = self._lost, threading.Event()
        lost.set()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()
