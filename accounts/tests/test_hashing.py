"""Hashing: to the same bytes as argon2-cffi, in kept memory, two at a time, and never by all threads."""

import concurrent.futures
import errno
import fcntl
import os
import random
import string
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher, Type
from argon2.low_level import ffi, hash_secret
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.test import Client

from accounts.passwords import argon2id
from accounts.passwords.hashers import Argon2Hasher
from accounts.ratelimits import slots
from accounts.services import password_hashing
from config.tests.support.accounts import PASSWORD, Person
from config.tests.support.client import API
from config.tests.support.live_server import serving
from config.tests.support.urls import hashing_bodies

pytestmark = pytest.mark.no_database

EMAIL = "somebody@example.com"
rng = random.Random(20_261_122)
WORDS = ["a lovely sentence of Ada's", "ä", "\U0001f511 key", "x" * 128]


def some_costs() -> dict[str, int]:
    lanes = rng.randint(1, 5)
    return {"time_cost": rng.randint(1, 3), "memory_cost": rng.randint(8 * lanes, 600), "parallelism": lanes}


def hasher_of(costs: dict[str, int]) -> Argon2Hasher:
    hasher = Argon2Hasher()
    vars(hasher).update(costs)
    return hasher


@pytest.mark.parametrize("word", WORDS)
def test_hashes_are_those_of_argon2_cffi_byte_for_byte(word: str) -> None:
    for _ in range(10):
        costs, salt = some_costs(), "".join(rng.choices(string.ascii_letters, k=rng.randint(8, 30)))
        theirs = Argon2PasswordHasher()
        vars(theirs).update(costs)
        assert hasher_of(costs).encode(word, salt) == theirs.encode(word, salt), costs


@pytest.mark.parametrize("variety", list(Type))
@pytest.mark.parametrize("version", [16, 19])
def test_imported_hashes_of_any_kind_are_verified(variety: Type, version: int) -> None:
    for _ in range(5):
        costs, salt = some_costs(), rng.randbytes(16)
        encoded = "argon2" + hash_secret(b"right", salt, hash_len=rng.choice([16, 32, 64]), type=variety,
                                         version=version, **costs).decode()  # fmt: skip
        assert Argon2Hasher().verify("right", encoded), encoded
        assert not Argon2Hasher().verify("wrong", encoded), encoded


def test_imported_hash_without_a_version_is_of_the_first_one() -> None:
    encoded = hash_secret(b"right", b"saltsalt", 1, 8, 1, 32, Type.I, 16).decode().replace("$v=16", "")
    assert PasswordHasher().verify(encoded, "right")
    assert Argon2Hasher().verify("right", f"argon2{encoded}")


def test_costs_that_are_none_verify_nothing() -> None:
    encoded = Argon2Hasher().encode("right", "saltsaltsalt")
    assert not Argon2Hasher().verify("right", encoded.replace("p=", "p=99999999"))


def test_memory_is_wiped_and_kept_for_the_next_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    spare: list[Any] = []
    monkeypatch.setattr(argon2id, "_free_blocks", spare)
    hasher = hasher_of({"time_cost": 1, "memory_cost": 1024, "parallelism": 2})
    hasher.encode("right", "saltsaltsalt")
    [(size, block)] = spare
    assert size == 1024 * 1024
    assert not any(block[:])
    hasher.encode("right", "saltsaltsalt")
    assert [kept for _size, kept in spare] == [block]


def test_memory_of_other_costs_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    spare: list[Any] = []
    monkeypatch.setattr(argon2id, "_free_blocks", spare)
    for memory_cost in (64, 128, 64):
        hasher_of({"time_cost": 1, "memory_cost": memory_cost, "parallelism": 1}).encode("x", "saltsaltsalt")
        assert [size for size, _block in spare] == [memory_cost * 1024]


def test_hash_whose_threads_cannot_be_started_is_made_by_one(
    lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = hasher_of({"time_cost": 1, "memory_cost": 64, "parallelism": 2})
    alone, really = hasher.encode("right", "saltsaltsalt"), argon2id.core
    spare: list[Any] = []
    monkeypatch.setattr(argon2id, "_free_blocks", spare)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    def core(context: Any, variety: int) -> int:
        if context.threads == 1:
            return int(really(context, variety))
        argon2id._allocate(ffi.new("uint8_t **"), 64 * 1024)  # which libargon2 leaves behind
        return argon2id.NO_THREAD

    monkeypatch.setattr(argon2id, "core", core)
    assert hasher.encode("right", "saltsaltsalt") == alone
    assert len(spare) == 1
    assert argon2id._taken.block is None


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_without_memory_nobody_is_told_that_the_password_is_wrong(
    ada: Person, api: API, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(size: int) -> None:
        raise OSError(errno.ENOMEM, size)

    right, stranger = {"email": ada.email, "password": PASSWORD}, {"email": EMAIL, "password": PASSWORD}
    with monkeypatch.context() as patch:
        patch.setattr(argon2id, "_free_blocks", [])
        patch.setattr(argon2id, "_map", made)
        for _ in range(6):  # five wrong ones would lock
            for body in (right, stranger):
                refused = api.post("login", body)
                assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert api.post("login", right).status_code == 200


def test_threads_at_once_get_their_own_memory() -> None:
    hasher = hasher_of({"time_cost": 3, "memory_cost": 512, "parallelism": 2})
    salts = [f"saltsaltsalt{n}" for n in range(24)]
    alone = [hasher.encode("right", salt) for salt in salts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda salt: hasher.encode("right", salt), salts)) == alone


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this test alone: others hash, too."""
    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(argon2id, "__file__", str(path))
    return path


LOCKS_ELSEWHERE = """
import errno
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, int(sys.argv[2]))
print("at it", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("lock", [fcntl.LOCK_SH, fcntl.LOCK_EX], ids=["a hash", "a stranger"])
def test_lanes_run_side_by_side_only_where_nobody_else_hashes(
    lock: int, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def core(context: Any, variety: int) -> int:
        threads.append(context.threads)
        return argon2_core(context, variety)

    argon2_core = argon2id.core
    monkeypatch.setattr(argon2id, "core", core)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    hasher = hasher_of({"time_cost": 1, "memory_cost": 64, "parallelism": 4})
    alone = hasher.encode("right", "saltsaltsalt")
    command = [sys.executable, "-c", LOCKS_ELSEWHERE, str(lock_file), str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as elsewhere:
        assert elsewhere.stdout
        assert elsewhere.stdout.readline()
        assert hasher.encode("right", "saltsaltsalt") == alone
        elsewhere.communicate()
    assert hasher.encode("right", "saltsaltsalt") == alone
    with argon2id._exclusive_use() as here:
        assert here
        assert hasher.encode("right", "saltsaltsalt") == alone  # nor beside another thread's
    assert threads == [3, 1, 3, 1]


def test_two_hash_at_a_time_behind_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, niceness = 0, 0, set()

    def slow(password: str, salt: Any = None) -> str:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        threading.Event().wait(0.02)
        at_work -= 1
        return password

    monkeypatch.setattr("django.contrib.auth.hashers.make_password", slow)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(password_hashing.hash_password, "abcdef")) == list("abcdef")
    assert most == 2
    if sys.platform == "linux":
        assert niceness == {password_hashing.NICENESS}


@pytest.fixture
def one_place(monkeypatch: pytest.MonkeyPatch) -> threading.BoundedSemaphore:
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(slots, "_slots", places)
    return places


SLOW = hashing_bodies()


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_doors_that_hash_are_busy_once_all_places_are_taken(
    api: API, ada: Person, one_place: threading.BoundedSemaphore
) -> None:
    one_place.acquire()
    for door, body in SLOW.items():
        refused = api.post(door, body, token=ada.access)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy"), door
        assert int(refused["Retry-After"]) >= 1
    page = Client().post("/account/reset/x/y/", {"new_password": PASSWORD})
    assert page.status_code == 503
    assert page["Retry-After"]
    assert api.get("me", token=ada.access).status_code == 200
    assert api.post("password/reset", {"email": EMAIL}).status_code == 202
    one_place.release()
    for door, body in SLOW.items():
        assert api.post(door, body, token=ada.access).status_code != 503, door
    assert one_place.acquire(blocking=False)  # given back by each


@pytest.mark.slow
@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_flood_of_sign_ins_leaves_threads_to_the_others(ada: Person, tmp_path: Path) -> None:
    """Four threads, two of them hashing for seconds: who asks who he is gets his answer in between."""
    costly = {"ARGON2_TIME_COST": "60", "ARGON2_MEMORY_COST": "65536", "RATE_LIMIT_LOGIN": "1000/m"}
    with serving(tmp_path, workers=1, WORKER_THREADS="4", **costly) as served:
        access = served.post("login", {"email": ada.email, "password": ada.password}).json()["access"]
        body = {"email": "nobody@example.com", "password": "not the password of anybody"}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            flood = [pool.submit(served.post, "login", body) for _ in range(8)]
            while sum(reply.done() for reply in flood) < 6:
                threading.Event().wait(0.01)
            assert served.call("GET", "me", token=access).status == 200
            assert sum(reply.done() for reply in flood) == 6, "the two that hash are at it"
            codes = sorted(reply.result().code for reply in flood)
        assert codes == ["busy"] * 6 + ["invalid_credentials"] * 2
