"""Hashes equal those of argon2-cffi, reuse memory, run two at a time and leave threads to other requests."""

import concurrent.futures
import errno
import fcntl
import mmap
import os
import random
import string
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from argon2 import PasswordHasher, Type
from argon2.low_level import hash_secret
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.test import Client

from accounts.passwords import argon2id
from accounts.passwords.hashers import Argon2Hasher
from accounts.ratelimits import slots
from accounts.services import password_hashing
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API
from config.tests.support.environment import ROOT
from config.tests.support.live_server import run_server
from config.tests.support.urls import hashing_bodies

pytestmark = pytest.mark.no_database

EMAIL = "somebody@example.com"
rng = random.Random(20_261_122)
WORDS = ["a lovely sentence of Ada's", "ä", "\U0001f511 key", "x" * 128]


def random_costs() -> dict[str, int]:
    lanes = rng.randint(1, 5)
    return {"time_cost": rng.randint(1, 3), "memory_cost": rng.randint(8 * lanes, 600), "parallelism": lanes}


def hasher_of(costs: dict[str, int]) -> Argon2Hasher:
    hasher = Argon2Hasher()
    vars(hasher).update(costs)
    return hasher


@pytest.mark.parametrize("word", WORDS)
def test_hashes_equal_those_of_argon2_cffi(word: str) -> None:
    for _ in range(10):
        costs, salt = random_costs(), "".join(rng.choices(string.ascii_letters, k=rng.randint(8, 30)))
        django = Argon2PasswordHasher()
        vars(django).update(costs)
        assert hasher_of(costs).encode(word, salt) == django.encode(word, salt), costs


@pytest.mark.parametrize("variety", list(Type))
@pytest.mark.parametrize("version", [16, 19])
def test_imported_hashes_of_any_kind_are_verified(variety: Type, version: int) -> None:
    for _ in range(5):
        costs, salt = random_costs(), rng.randbytes(16)
        encoded = "argon2" + hash_secret(b"right", salt, hash_len=rng.choice([16, 32, 64]), type=variety,
                                         version=version, **costs).decode()  # fmt: skip
        assert Argon2Hasher().verify("right", encoded), encoded
        assert not Argon2Hasher().verify("wrong", encoded), encoded


def test_imported_hash_without_a_version_is_of_version_16() -> None:
    encoded = hash_secret(b"right", b"saltsalt", 1, 8, 1, 32, Type.I, 16).decode().replace("$v=16", "")
    assert PasswordHasher().verify(encoded, "right")
    assert Argon2Hasher().verify("right", f"argon2{encoded}")


def test_invalid_costs_verify_nothing() -> None:
    encoded = Argon2Hasher().encode("right", "saltsaltsalt")
    assert not Argon2Hasher().verify("right", encoded.replace("p=", "p=99999999"))


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> WeakSet[mmap.mmap]:
    """The blocks that were mapped since, as long as they are."""
    blocks: WeakSet[mmap.mmap] = WeakSet()

    class Block(mmap.mmap):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            blocks.add(self)

    monkeypatch.setattr(mmap, "mmap", Block)
    return blocks


def test_memory_is_wiped_and_reused(mapped: WeakSet[mmap.mmap]) -> None:
    hasher = hasher_of({"time_cost": 1, "memory_cost": 1020, "parallelism": 2})
    hasher.encode("right", "saltsaltsalt")
    [block] = mapped
    assert len(block) >= 1020 * 1024
    assert not any(block[:])
    hasher.encode("right", "saltsaltsalt")
    assert list(mapped) == [block]


def test_memory_of_other_costs_is_dropped(mapped: WeakSet[mmap.mmap]) -> None:
    for memory_cost in (1012, 1016, 1012):
        hasher_of({"time_cost": 1, "memory_cost": memory_cost, "parallelism": 1}).encode("x", "saltsaltsalt")
        [size] = [len(block) for block in mapped]
        assert 0 <= size - memory_cost * 1024 < 4 * 1024 * 1024


# prints the hash, or the name of the error, with so many KiB of address space left
SHORT_OF_MEMORY = """
import pathlib, resource, sys
from argon2 import Parameters, Type
from django.conf import settings
settings.configure(DATA_DIR=pathlib.Path(sys.argv[1]))
from accounts.passwords import argon2id
costs = Parameters(Type.ID, 19, 8, 32, 1, 4096, 2)
argon2id.os.cpu_count = lambda: 2
used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 1024,) * 2)
for _ in range(2):
    try:
        print(argon2id.digest(b"right", b"saltsalt", costs))
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("left", [7000, 2000], ids=["none for a thread", "none for a block"])
def test_hash_that_is_short_of_memory(tmp_path: Path, left: int) -> None:
    """Without memory for a second thread's stack (8 MiB) one thread does it all."""
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path), str(left)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    whole = hash_secret(b"right", b"saltsalt", 1, 4096, 2, 32, Type.ID).decode().rpartition("$")[2]
    assert run.stdout.split() == [whole if left == 7000 else "BusyError"] * 2


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_password_is_not_wrong_for_want_of_memory(api: API, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOMEM, "out of memory")

    monkeypatch.setattr(Argon2Hasher, "memory_cost", 1004)
    make_creator(EMAIL, password=Argon2Hasher().encode(PASSWORD, "saltsaltsalt"))
    hasher_of({"time_cost": 1, "memory_cost": 8, "parallelism": 1}).encode("x", "drops the block of 1004")
    right, unknown = {"email": EMAIL, "password": PASSWORD}, {"email": "x@example.com", "password": PASSWORD}
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", out_of_memory)
        for _ in range(6):  # five wrong ones would lock
            for body in (right, unknown):
                refused = api.post("login", body)
                assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert api.post("login", right).status_code == 200


def test_parallel_hashes_get_their_own_memory() -> None:
    hasher = hasher_of({"time_cost": 3, "memory_cost": 512, "parallelism": 2})
    salts = [f"saltsaltsalt{n}" for n in range(24)]
    alone = [hasher.encode("right", salt) for salt in salts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda salt: hasher.encode("right", salt), salts)) == alone


HOLDS_A_LOCK = """
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, int(sys.argv[2]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def threads(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of each hash, on a machine with three cores and no other hashes."""
    counts: list[int] = []
    really = argon2id.core

    def core(context: Any, argon2_type: int) -> int:
        counts.append(context.threads)
        return really(context, argon2_type)

    monkeypatch.setattr(argon2id, "core", core)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    settings.DATA_DIR = tmp_path
    return counts


FOUR_LANES = {"time_cost": 1, "memory_cost": 64, "parallelism": 4}


@pytest.mark.parametrize("lock", [fcntl.LOCK_SH, fcntl.LOCK_EX], ids=["a hash", "another program"])
def test_lanes_run_in_parallel_unless_another_process_hashes(
    lock: int, threads: list[int], settings: Any
) -> None:
    hasher = hasher_of(FOUR_LANES)
    alone = hasher.encode("right", "saltsaltsalt")
    command = [sys.executable, "-c", HOLDS_A_LOCK, str(settings.DATA_DIR / argon2id.LOCK_FILE), str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline()
        assert hasher.encode("right", "saltsaltsalt") == alone
        other.communicate()
    assert hasher.encode("right", "saltsaltsalt") == alone
    assert threads == [3, 1, 3]


def test_lanes_run_in_one_thread_while_another_thread_hashes(
    threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    core, hasher = argon2id.core, hasher_of(FOUR_LANES)

    def during(context: Any, argon2_type: int) -> int:
        monkeypatch.setattr(argon2id, "core", core)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(hasher.encode, "right", "saltsaltsalt").result()
        return int(core(context, argon2_type))

    monkeypatch.setattr(argon2id, "core", during)
    hasher.encode("right", "saltsaltsalt")
    assert threads == [1, 3]


def test_lanes_run_in_one_thread_without_a_lock_file(
    threads: list[int], settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path / "missing"
    assert Argon2Hasher().verify("right", hasher_of(FOUR_LANES).encode("right", "saltsaltsalt"))
    assert threads == [1, 1]
    assert not settings.DATA_DIR.exists()  # made by a command of another user, the service could not use it


def test_two_hash_at_a_time_at_a_lower_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, started, running, priorities = threading.Lock(), [], set(), set()

    def slow(password: str, salt: Any = None) -> str:
        with lock:
            running.add(password)
            started.append(len(running))
        priorities.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        threading.Event().wait(0.02)
        with lock:
            running.remove(password)
        return password

    monkeypatch.setattr("django.contrib.auth.hashers.make_password", slow)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(password_hashing.hash_password, "abcdef")) == list("abcdef")
    assert max(started) == 2
    if sys.platform == "linux":
        assert priorities == {password_hashing.NICENESS}


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> threading.BoundedSemaphore:
    semaphore = threading.BoundedSemaphore(1)
    monkeypatch.setattr(slots, "_slots", semaphore)
    return semaphore


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_endpoints_that_hash_are_busy_without_a_free_slot(
    api: API, ada: Person, one_slot: threading.BoundedSemaphore
) -> None:
    one_slot.acquire()
    for path, body in hashing_bodies().items():
        refused = api.post(path, body, token=ada.access)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy"), path
        assert int(refused["Retry-After"]) >= 1
    page = Client().post("/account/reset/x/y/", {"new_password": PASSWORD})
    assert page.status_code == 503
    assert page["Retry-After"]
    assert api.get("me", token=ada.access).status_code == 200
    assert api.post("password/reset", {"email": EMAIL}).status_code == 202
    one_slot.release()
    for path, body in hashing_bodies().items():
        assert api.post(path, body, token=ada.access).status_code != 503, path
    assert one_slot.acquire(blocking=False)  # each has released its slot


@pytest.mark.slow
@pytest.mark.django_db(transaction=True, databases="__all__")
def test_flood_of_sign_ins_leaves_threads_to_other_requests(ada: Person, tmp_path: Path) -> None:
    """Of four threads two hash for seconds; GET me is answered meanwhile."""
    costly = {"ARGON2_TIME_COST": "60", "ARGON2_MEMORY_COST": "65536", "RATE_LIMIT_LOGIN": "1000/m"}
    with run_server(tmp_path, workers=1, WORKER_THREADS="4", **costly) as served:
        access = served.post("login", {"email": ada.email, "password": ada.password}).json()["access"]
        body = {"email": "nobody@example.com", "password": "not the password of anybody"}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            flood = [pool.submit(served.post, "login", body) for _ in range(8)]
            while sum(reply.done() for reply in flood) < 6:
                threading.Event().wait(0.01)
            assert served.call("GET", "me", token=access).status == 200
            assert sum(reply.done() for reply in flood) == 6, "two are still hashing"
            codes = sorted(reply.result().code for reply in flood)
        assert codes == ["busy"] * 6 + ["invalid_credentials"] * 2
