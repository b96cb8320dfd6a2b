"""A way to a scheduler that counts what passes, and can be cut."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import AbstractContextManager, suppress
from typing import Self

__all__ = ["Wire"]

AT_ONCE = 2**16
Pair = tuple[socket.socket, socket.socket]
NOW = struct.pack("ii", 1, 0)  # linger for no time: the other end sees a reset


class Wire(AbstractContextManager["Wire"]):
    """Pass on all connections to a port of this machine, as long as the block lasts.

    `address` is where to connect to; `up` and `down` count bytes to and from the port. While
    `held`, nothing passes and nobody is told: as when a cable is drawn.
    """

    def __init__(self, port: int) -> None:
        self.up = self.down = 0
        self.held = False
        self._port, self._pairs = port, set[Pair]()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._door.getsockname()[1]}"
        self._over = threading.Event()
        threading.Thread(target=self._open, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # wakes who waits there
        self._door.close()
        self.reset()

    def reset(self) -> None:
        """Break all connections, so that both ends see it; new ones are passed on."""
        for pair in list(self._pairs):
            self._break(pair)

    def _break(self, pair: Pair) -> None:
        self._pairs.discard(pair)
        for one in pair:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _open(self) -> None:
        while not self._over.is_set():
            try:
                here, _ = self._door.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._port))
            except OSError:  # nobody listens there any more
                here.close()
                continue
            pair = (here, there)
            self._pairs.add(pair)
            for way in (0, 1):
                threading.Thread(target=self._pass, args=(pair, way), daemon=True).start()

    def _pass(self, pair: Pair, way: int) -> None:
        source, target = pair[way], pair[1 - way]
        with suppress(OSError):
            while data := source.recv(AT_ONCE):
                while self.held and not self._over.wait(0.02):
                    pass
                target.sendall(data)
                if way:
                    self.down += len(data)
                else:
                    self.up += len(data)
        self._break(pair)
