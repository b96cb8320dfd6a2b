"""The connection to a scheduler of dask, and what is asked of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Self

from distributed import Client
from distributed.client import ClosedClientError

import napari_deblur
from napari_deblur.stopping import RunStopped

__all__ = ["Line", "connected"]

LOG = logging.getLogger(__name__)
PATIENCE = 20.0  # seconds until a scheduler has answered
SILENCE = 30.0  # seconds after which one that says nothing is taken for lost
RETURN = 60.0  # seconds that a lost one has to come back
GREETING = 5.0  # seconds that new workers have to say their version
RENEWALS = 3  # connections that may be lost without an answer in between


class Line(AbstractContextManager["Line"]):
    """The connection to a scheduler, made anew when it is lost; it is closed in the end.

    Parameters
    ----------
    connect : function of the seconds to wait, that gives a client
    """

    def __init__(self, connect: Callable[[float], Client]) -> None:
        self._connect = connect
        # It writes tracebacks where a connection is lost; here that is said in a sentence.
        self._logger = logging.getLogger("distributed.client")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)
        try:
            self.client = connect(PATIENCE)
        except BaseException:
            self._logger.setLevel(self._level)
            raise
        self._lost = 0
        self._greeted: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        self._logger.setLevel(self._level)

    def workers(self) -> set[str]:
        """Give the addresses of the workers; OSError when the scheduler says nothing.

        Raises
        ------
        RunStopped
            When a new one has no version of this package, or another one.
        """
        there = set(self.asked(self.client.scheduler.ncores, workers=None))
        new, self._greeted = there - self._greeted, there
        if new:
            self._greet(new)
        return there

    def at_work(self) -> dict[str, dict[str, float]]:
        """Give the seconds that workers have been at their tasks; of what only waits there, 0."""

        def at_work(dask_scheduler: Any) -> dict[str, dict[str, float]]:  # travels as code
            return {
                where: {one.key: worker.executing.get(one, 0.0) for one in worker.processing}
                for where, worker in dask_scheduler.workers.items()
            }

        client = self.client
        found: dict[str, dict[str, float]] = self.asked(
            lambda: client.run_on_scheduler(at_work, asynchronous=True)
        )
        return found

    def _greet(self, workers: set[str]) -> None:
        """Ask for versions: a worker without the package would die of what it is sent."""

        def version() -> str:  # travels as code, since it's no function of a module
            try:
                import napari_deblur
            except ImportError:
                return ""
            return napari_deblur.__version__

        said: dict[str, str | Exception] = {}
        with suppress(TimeoutError, OSError):  # one that hangs, or has left already
            said = self.client.sync(
                lambda: self.client.run(version, workers=[*workers], on_error="return"),
                callback_timeout=GREETING,
            )
        here = napari_deblur.__version__
        for address, there in said.items():
            if isinstance(there, str) and there != here:
                has = f"napari-deblur {there}" if there else "no napari-deblur"
                raise RunStopped(
                    f"the worker at {address} has {has} and this is {here}: install the same "
                    "version there, then run the same again"
                )

    def asked(self, question: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Wait for an answer of the scheduler, but not for ever: OSError then."""
        try:
            return self.client.sync(question, *given, callback_timeout=SILENCE, **named)
        except (TimeoutError, ClosedClientError) as error:
            raise ConnectionError("the scheduler says nothing") from error

    def worked(self) -> None:
        """Say that an answer came."""
        self._lost = 0

    def renew(self) -> None:
        """Connect again; ConnectionError in a sentence when that fails."""
        self._lost += 1
        self._close()
        self._greeted = set()
        LOG.warning("the connection to the scheduler was lost: trying again for %g s", RETURN)
        try:
            if self._lost > RENEWALS:
                raise ConnectionError("again and again")
            self.client = self._connect(RETURN)
        except ConnectionError as error:
            raise ConnectionError(
                "the connection to the scheduler was lost: run the same again when it is there, "
                "what is done is kept"
            ) from error

    def _close(self) -> None:
        with suppress(TimeoutError, OSError):
            self.client.close(timeout=2)


def connected(address: str, seconds: float) -> Client:
    """Connect to a running scheduler; ConnectionError in a sentence when none answers in time."""
    made: SimpleQueue[Client | Exception] = SimpleQueue()
    given_up = Event()

    def connect() -> None:
        try:
            client = Client(address, timeout=seconds, set_as_default=False)
        except (OSError, ValueError) as error:
            made.put(error)
            return
        made.put(client)
        if given_up.is_set():
            client.close()

    # The client's own limit does not hold where its greeting is swallowed.
    Thread(target=connect, name="napari-deblur-connect", daemon=True).start()
    try:
        client = made.get(timeout=seconds + 1)
    except Empty:
        given_up.set()
        client = TimeoutError(f"nothing was heard for {seconds:g} s")
    if isinstance(client, Exception):
        raise ConnectionError(
            f"no scheduler answers at {address} ({client}): check the address, "
            "or use workers on this machine (--workers N)"
        ) from client
    return client
