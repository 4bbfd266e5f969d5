"""The processes that carry out one command together, as `torchrun` or `accelerate launch` have started them.

They do the same in the same order, and share what takes long. What one of them must decide for all, such as whether a
training is done, and every file, is left to the main process, number 0. They talk over a channel of their own, beside
the one on which gradients are averaged: on it a process waits as long as it takes, hears signals, and learns at once
when another one has failed or is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from invreg.computing.interruption import LAUNCHED, is_one_of_several
from invreg.errors import InvregError, ProcessError, message_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Work
    from torch.distributed.distributed_c10d import Store

_T = TypeVar("_T")
_E = TypeVar("_E", bound=BaseException)

#: What a process says with each message: its part of a result, the result of the main process, or that it has failed.
_PART, _WHOLE, _FAILED = range(3)
#: Kind and length of a message, and as much of it as fits: a short one costs a single exchange.
_HEAD = struct.Struct("<qq240s")
_FITS = 240

#: Seconds: until all have met; that an operation between devices may take; that a process which has failed waits for
#: the others to fail in the same way, where that would cost only a trial or a cell; and for them at the end.
_MEETING, _STEP, _SAME_FAILURE, _LAST_WORDS = 600.0, 1800.0, 60.0, 2.0


class Processes:
    """A single process: it is the main one, and shares with nobody.

    Attributes:
        count: how many processes there are.
        rank: the number of this one, from 0.
    """

    count: int = 1
    rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def from_main(self, work: Callable[[], _T]) -> _T:
        """What `work` gives in the main process, in all of them; the others wait for it and do not call it.

        Raises:
            InvregError: in all, if it fails.
        """
        return work()

    def gather(self, work: Callable[[], _T]) -> list[_T]:
        """What `work` gives in each process, by their numbers, in all of them.

        Raises:
            InvregError: in all, if it fails in one.
        """
        return [work()]

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, in all of them, on its device: in the steps of a shared training.

        It is for the middle of a computation that all do side by side: nobody should have to wait long for another.
        """
        return values

    def failed_alike(self, error: BaseException) -> None:
        """To be called where work has failed and the next is begun all the same: all processes must know of it.

        Raises:
            ProcessError: if the work has failed in some of them only, which do not do the same any more.
        """


class _Group(Processes):
    """Several processes.

    Args:
        store: what all of them can write to, of a group that was made here; None for a group that somebody else made.
    """

    def __init__(self, store: Store | None) -> None:
        import torch.distributed as dist

        self.count, self.rank = dist.get_world_size(), dist.get_rank()
        self._store = store
        self._channel = dist.new_group(backend="gloo", timeout=timedelta(days=365))

    def from_main(self, work: Callable[[], _T]) -> _T:
        if not self.is_main:
            return self._result(self._exchange(_WHOLE, None)[0])
        try:
            with alone():
                result = work()
        except Exception as error:
            self._exchange(_WHOLE, _Failure.of(error))
            raise
        self._exchange(_WHOLE, result)
        return result

    def gather(self, work: Callable[[], _T]) -> list[_T]:
        try:
            mine: Any = work()
        except ProcessError:
            raise
        except Exception as error:
            self._exchange(_PART, _Failure.of(error))
            raise
        return [self._result(part) for part in self._exchange(_PART, mine)]

    def sum(self, values: Tensor) -> Tensor:
        import torch.distributed as dist

        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def failed_alike(self, error: BaseException) -> None:
        if isinstance(error, ProcessError):
            raise error
        if not self._all_fail(_SAME_FAILURE):
            text = str(error) if isinstance(error, InvregError) else message_of(error)
            raise _OwnFailure(
                text,
                where=f"process {self.rank} of {self.count}",
                expected="the same in all of them",
                hint="the same command with one process, where this costs a trial or a cell and nothing else",
            ) from error

    def _result(self, part: Any) -> Any:
        if isinstance(part, _Failure):
            raise part.error()
        return part

    # -- the channel

    def _exchange(self, kind: int, value: Any) -> list[Any]:
        """The value of each process; only that of the main one, if the kind says so."""
        import torch
        import torch.distributed as dist

        content = pickle.dumps(value) if kind == _PART or self.is_main else b""
        heads = self._gathered(_HEAD.pack(kind, len(content), content[:_FITS]), _HEAD.size)
        kinds, sizes, inline = zip(*map(_HEAD.unpack, heads), strict=True)
        if any(other != kind for other in kinds):
            failed = next((rank for rank, other in enumerate(kinds) if other == _FAILED), None)
            what = "the processes do not do the same" if failed is None else f"process {failed} has failed"
            raise ProcessError(what, where=f"process {self.rank} of {self.count}")
        if max(sizes) <= _FITS:
            parts = [data[:size] for data, size in zip(inline, sizes, strict=True)]
        elif kind == _WHOLE:
            data = torch.frombuffer(bytearray(content) if self.is_main else bytearray(sizes[0]), dtype=torch.uint8)
            self._finish(lambda: dist.broadcast(data, src=0, group=self._channel, async_op=True))
            parts = [data.numpy().tobytes()]
        else:
            parts = [data[:size] for data, size in zip(self._gathered(content, max(sizes)), sizes, strict=True)]
        # What is loaded comes from a process of this very command.
        return [value if rank == self.rank else pickle.loads(data) for rank, data in enumerate(parts) if data]  # noqa: S301

    def _gathered(self, content: bytes, size: int, seconds: float | None = None) -> list[bytes]:
        import torch
        import torch.distributed as dist

        mine = torch.frombuffer(bytearray(content.ljust(size, b"\0")), dtype=torch.uint8)
        found: list[Tensor] = [torch.empty_like(mine) for _ in range(self.count)]
        self._finish(lambda: dist.all_gather(found, mine, group=self._channel, async_op=True), seconds)
        return [one.numpy().tobytes() for one in found]

    def _finish(self, start: Callable[[], Work | None], seconds: float | None = None) -> None:
        """Waits for an operation without keeping a core busy, and so that signals are heard.

        Raises:
            ProcessError: if another process is gone.
            TimeoutError: if it takes longer than so many seconds.
        """
        started, pause = time.monotonic(), 0.0
        try:
            work = start()
            while work is not None and not work.is_completed():
                if seconds is not None and time.monotonic() - started > seconds:
                    raise TimeoutError
                time.sleep(pause)
                pause = min(0.05, 1.3 * pause + 1e-5)
            if work is not None:
                work.wait()
        except RuntimeError as error:
            raise self._lost() from error

    # -- failures

    def _lost(self) -> ProcessError:
        """The error for a process that is gone."""
        return _Lost(
            f"another of the {self.count} processes has ended, or cannot be reached any more",
            expected="all of them until the end",
            hint="the same command: it goes on from the last checkpoint, with another number of processes, too",
        )

    def _all_fail(self, seconds: float) -> bool:
        """Says that this process has failed; whether all others say so, too.

        Raises:
            ProcessError: if one of them is gone.
        """
        try:
            heads = self._gathered(_HEAD.pack(_FAILED, 0, b""), _HEAD.size, seconds)
        except TimeoutError:
            return False
        return all(_HEAD.unpack(head)[0] == _FAILED for head in heads)

    def last_words(self, error: _E) -> _E | ProcessError | None:
        """What this process says about the error that ends it; None if another one says it.

        An error that all have is said by the main process; one that a single process has, by that one.
        """
        for name in ("SIGINT", "SIGTERM"):  # launchers send them to those that are left
            with suppress(ValueError):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        if isinstance(error, KeyboardInterrupt):
            return error if self.is_main and self._is_first() else None
        if not isinstance(error, ProcessError):
            try:
                if self._all_fail(_LAST_WORDS):
                    return error if self.is_main else None
            except ProcessError as lost:  # it fails because of that
                return lost if self._is_first() else None
            if isinstance(error, InvregError):
                own = f"process {self.rank} of {self.count}"
                error.where = f"{error.where} ({own})" if error.where else own
        elif not isinstance(error, _OwnFailure | _Lost):
            self._wait_for_the_first()
        return error if self._is_first() else None

    def _is_first(self) -> bool:
        """Whether nobody has said yet what ends the command."""
        if self._store is None:
            return self.is_main
        try:
            return int(self._store.add("invreg/said", 1)) == 1
        except RuntimeError:  # it was kept by the main process, which is gone
            return self.rank == 1

    def _wait_for_the_first(self) -> None:
        """Lets the process that has failed say so itself."""
        until = time.monotonic() + 5 * _LAST_WORDS
        with suppress(RuntimeError):
            while self._store is not None and not self._store.check(["invreg/said"]) and time.monotonic() < until:
                time.sleep(0.05)


class _Lost(ProcessError):
    """Another process is gone; if it has said anything, it did so before."""


class _OwnFailure(ProcessError):
    """A failure of this process that the others do not share."""


class _Failure:
    """An error of one process, as the others get it."""

    def __init__(self, text: str, exit_status: int) -> None:
        self.text, self.exit_status = text, exit_status

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        text = str(error) if isinstance(error, InvregError) else message_of(error)
        return cls(text, getattr(error, "exit_status", 1))

    def error(self) -> InvregError:
        error = InvregError(self.text)
        error.exit_status = self.exit_status
        return error


_SINGLE = Processes()
_group: _Group | None = None
_alone = 0


def processes() -> Processes:
    """The processes that work together here: those of this command, or this one alone.

    The first call waits until all of them have made it.

    Raises:
        ProcessError: if they do not meet.
    """
    global _group
    if _alone:
        return _SINGLE
    if _group is None:
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            _group = _Group(None) if distributed.get_world_size() > 1 else None
        elif is_one_of_several():
            _group = _meet()
    return _group or _SINGLE


@contextmanager
def alone() -> Iterator[None]:
    """Inside, `processes()` is this process alone: for work that the others do not take part in."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def part() -> None:
    """Ends the work together, after a command."""
    global _group
    if _group is not None:
        import torch.distributed as dist

        _group.gather(lambda: None)
        dist.destroy_process_group()
        _group = None


def last_words(error: _E) -> _E | ProcessError | None:
    """What this process says about the error that ends the command; None if another process says it."""
    if _group is not None:
        return _group.last_words(error)
    is_ours = isinstance(error, ProcessError) or not is_one_of_several() or os.environ["RANK"] == "0"
    return error if is_ours else None


def _meet() -> _Group:
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    given = {name: os.environ[name] for name in LAUNCHED}
    try:
        store, rank, count = next(rendezvous("env://", timeout=timedelta(seconds=_MEETING)))
        store.set_timeout(timedelta(seconds=_MEETING))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(
            backend,
            store=PrefixStore("invreg/group", store),
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=_STEP),
        )
        return _Group(store)
    except (RuntimeError, ValueError) as error:
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ProcessError(
            f"the processes do not meet ({said}): {str(error).splitlines()[0]}",
            where=f"process {given['RANK']} on {socket.gethostname()}",
            expected=f"{given['WORLD_SIZE']} processes that reach each other",
            hint="GLOO_SOCKET_IFNAME=eth0 (or another network interface); `unset WORLD_SIZE` for one process",
        ) from None
