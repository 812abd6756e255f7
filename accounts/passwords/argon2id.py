"""Argon2id through libargon2's own interface, with memory that is reused.

The result is byte for byte that of argon2-cffi, whose binding `core` makes the call. Two things differ:

Memory. Each hash needs 64 MiB (ARGON2_MEMORY_COST). libargon2 would allocate and free it each time;
the page faults alone cost a third of the hash. So libargon2 calls `_allocate` for the memory, and the
block, in huge pages if the kernel has them, stays in `_free_blocks` for the next hash. libargon2
wipes it after each hash. There are as many blocks as hashes at the same time, a number that
`services.password_hashing` bounds. Together with a build for the processor (`.ci/build-argon2`), two
cores compute 13.2 hashes a second, and 9.5 with argon2-cffi's wheel as it is.

Threads. A hash has ARGON2_PARALLELISM lanes. If no other hash is under way on the machine, each lane
gets a thread, which is the fastest for one sign-in. If others are, all lanes run in one thread: the
cores are in use anyway, and threads that wait for each other cost throughput. Each hash holds a shared
lock on LOCK_FILE in DATA_DIR, so the processes that share DATA_DIR detect each other's hashes. The first
hash creates the file. If it can't, because there is no DATA_DIR for example, each hash uses one thread.
"""

import fcntl
import mmap
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from argon2 import Parameters
from argon2.exceptions import HashingError
from argon2.low_level import core, error_to_str, ffi
from django.conf import settings

from accounts.exceptions import BusyError

LOCK_FILE = "hashing.lock"
HUGE_PAGE = 2 * 1024 * 1024
OK, NO_MEMORY, NO_THREAD = 0, -22, -33  # argon2.h
FIRST_VERSION, UNVERSIONED = 16, 18  # argon2-cffi parses a hash without a version, which is of 16, as 18

_free_blocks: list[tuple[int, mmap.mmap]] = []  # (requested size, block)


def digest(password: bytes, salt: bytes, parameters: Parameters) -> str:
    """The last part of an encoded hash.

    Raises:
        argon2.exceptions.HashingError: Argon2 does not accept the parameters.
        BusyError: there is not enough memory.

    """
    out = ffi.new("uint8_t[]", parameters.hash_len)
    # the context keeps pointers only, so these two need names of their own
    password_bytes, salt_bytes = ffi.new("uint8_t[]", password), ffi.new("uint8_t[]", salt)
    context = ffi.new(
        "argon2_context *",
        {
            "version": FIRST_VERSION if parameters.version == UNVERSIONED else parameters.version,
            "out": out, "outlen": parameters.hash_len,
            "pwd": password_bytes, "pwdlen": len(password),
            "salt": salt_bytes, "saltlen": len(salt),
            "t_cost": parameters.time_cost,
            "m_cost": parameters.memory_cost,
            "lanes": parameters.parallelism,
        },
    )  # fmt: skip
    status = _run(context, parameters)
    if status == NO_MEMORY:
        raise BusyError
    if status != OK:
        raise HashingError(error_to_str(status))
    return base64(bytes(ffi.buffer(out)))


def base64(data: bytes) -> str:
    """Base64 without padding, as in the PHC string format."""
    return b64encode(data).rstrip(b"=").decode()


def _run(context: Any, parameters: Parameters) -> int:
    """Compute the hash and return libargon2's status."""
    with _exclusive_use() as is_alone:
        context.threads = min(parameters.parallelism, os.cpu_count() or 1) if is_alone else 1
        status = _fill(context, parameters.type.value)
    if status == NO_THREAD:
        context.threads = 1
        status = _fill(context, parameters.type.value)
    return status


@contextmanager
def _exclusive_use() -> Iterator[bool]:
    """Whether no other hash was under way when this one began, in any thread or process."""
    file = _open_lock_file()
    try:
        is_alone = _lock(file, fcntl.LOCK_EX)
        _lock(file, fcntl.LOCK_SH)
        yield is_alone
    finally:
        if file is not None:
            os.close(file)


def _open_lock_file() -> int | None:
    with suppress(OSError):
        return os.open(settings.DATA_DIR / LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    return None


def _lock(file: int | None, kind: int) -> bool:
    """Never waits: a lock held by another program must not block sign-ins."""
    if file is None:
        return False
    with suppress(OSError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def _fill(context: Any, argon2_type: int) -> int:
    """Call libargon2, and keep the block for the next hash if it succeeded: only then is it wiped."""
    block: tuple[int, mmap.mmap] | None = None

    @ffi.callback("int(uint8_t **, size_t)", error=NO_MEMORY)  # type: ignore[untyped-decorator]
    def _allocate(memory: Any, size: int) -> int:
        nonlocal block
        try:
            block = size, _reuse(size) or _map(size)
        except (OSError, OverflowError):
            return NO_MEMORY
        memory[0] = ffi.cast("uint8_t *", _aligned_address(block[1]))
        return OK

    context.allocate_cbk, context.free_cbk = _allocate, _free
    status = int(core(context, argon2_type))
    if status == OK and block is not None:
        _free_blocks.append(block)
    return status


@ffi.callback("void(uint8_t *, size_t)")  # type: ignore[untyped-decorator]
def _free(memory: Any, size: int) -> None:
    """libargon2 requires this callback. `_fill` disposes of the block, also if libargon2 fails before."""


def _reuse(size: int) -> mmap.mmap | None:
    """The block that was freed last, if it fits. One of other parameters (an imported hash) is dropped."""
    try:
        free_size, block = _free_blocks.pop()  # atomic: threads share the list
    except IndexError:
        return None
    return block if free_size == size else None


def _map(size: int) -> mmap.mmap:
    block = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _aligned_address(block: mmap.mmap) -> int:
    """The first huge page's."""
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(block)))
    return -(-address // HUGE_PAGE) * HUGE_PAGE
