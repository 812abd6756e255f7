"""Argon2id by argon2-cffi, in memory that is kept.

A hash wants 64 MiB. Had anew each time, a third of the hash's time goes into making its pages; so
its block is kept for the next one, in huge pages where the kernel has them. libargon2 wipes it
after each hash. There are as many blocks as hashes at once, which `services.passwords` bounds.
"""

import fcntl
import mmap
import os
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from argon2 import Parameters
from argon2.exceptions import HashingError
from argon2.low_level import core, error_to_str, ffi

from accounts.exceptions import BusyError

HUGE_PAGE = 2 * 1024 * 1024
OK, NO_MEMORY, NO_THREAD = 0, -22, -33  # argon2.h
WITHOUT_VERSION, MISREAD = 16, 18  # a hash that names none; argon2-cffi reads it as 18

_free_blocks: list[tuple[int, mmap.mmap]] = []
_taken = threading.local()  # .block: the one of the hash that this thread is making


def digest(password: bytes, salt: bytes, parameters: Parameters) -> str:
    """The last part of an encoded hash.

    Raises:
        argon2.exceptions.HashingError: the parameters are none of Argon2's.
        BusyError: memory is short.

    """
    out = ffi.new("uint8_t[]", parameters.hash_len)
    # named: the context does not keep what it points to
    secret, salted = ffi.new("uint8_t[]", password), ffi.new("uint8_t[]", salt)
    context = ffi.new(
        "argon2_context *",
        {
            "version": WITHOUT_VERSION if parameters.version == MISREAD else parameters.version,
            "out": out, "outlen": parameters.hash_len,
            "pwd": secret, "pwdlen": len(password),
            "salt": salted, "saltlen": len(salt),
            "t_cost": parameters.time_cost,
            "m_cost": parameters.memory_cost,
            "lanes": parameters.parallelism,
            "allocate_cbk": _allocate, "free_cbk": _free,
        },
    )  # fmt: skip
    with _exclusive_use() as is_alone:
        context.threads = min(parameters.parallelism, os.cpu_count() or 1) if is_alone else 1
        status = _filled(context, parameters.type.value)
    if status == NO_THREAD:
        context.threads = 1
        status = _filled(context, parameters.type.value)
    if status == NO_MEMORY:
        raise BusyError
    if status != OK:
        raise HashingError(error_to_str(status))
    return base64(bytes(ffi.buffer(out)))


@contextmanager
def _exclusive_use() -> Iterator[bool]:
    """Whether no other hash is being made when this one begins, by any thread or process of the machine.

    Whoever is alone has its lanes side by side, and is sooner done; the others each keep to one core,
    which costs less. They know of each other by a shared lock on this file.
    """
    with Path(__file__).open("rb") as file:
        is_alone = _locked(file, fcntl.LOCK_EX)
        _locked(file, fcntl.LOCK_SH)
        yield is_alone


def _locked(file: IO[bytes], kind: int) -> bool:
    """Never waits: what a stranger locks holds nobody up."""
    with suppress(OSError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def base64(data: bytes) -> str:
    """Without padding, as the PHC string format wants it."""
    return b64encode(data).rstrip(b"=").decode()


def _filled(context: Any, variety: int) -> int:
    """The status. Memory of a hash that was made is wiped, and kept; any other goes back to the system."""
    status = int(core(context, variety))
    if status == OK:
        _free_blocks.append(_taken.block)
    _taken.block = None
    return status


@ffi.callback("int(uint8_t **, size_t)", error=NO_MEMORY)  # type: ignore[untyped-decorator]
def _allocate(memory: Any, size: int) -> int:
    try:
        block = _reuse(size) or _map(size)
    except (OSError, OverflowError):
        return NO_MEMORY
    _taken.block = size, block
    memory[0] = ffi.cast("uint8_t *", _aligned(int(ffi.cast("uintptr_t", ffi.from_buffer(block)))))
    return OK


@ffi.callback("void(uint8_t *, size_t)")  # type: ignore[untyped-decorator]
def _free(memory: Any, size: int) -> None:
    """`_filled` knows better: where a thread can't be started, libargon2 doesn't even come here."""


def _reuse(size: int) -> mmap.mmap | None:
    """The block that the last hash left, if it fits; others (of an import's parameters) are let go."""
    try:
        kept, block = _free_blocks.pop()  # one step: threads may come at once
    except IndexError:
        return None
    return block if kept == size else None


def _map(size: int) -> mmap.mmap:
    block = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _aligned(address: int) -> int:
    return -(-address // HUGE_PAGE) * HUGE_PAGE
