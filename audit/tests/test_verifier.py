"""Parts of the verification that need no database."""

import pytest

from audit.sealing.verifier import SealTimes, merge_in_order

pytestmark = pytest.mark.no_database


@pytest.mark.parametrize(
    ("sealed", "present", "merged"),
    [
        ("", "", ""),
        ("abc", "abc", "abc"),
        ("abc", "", "abc"),
        ("", "xy", "xy"),
        ("abc", "xabc", "xabc"),
        ("abc", "abxyc", "abxyc"),
        ("abc", "abcx", "abcx"),
        ("abc", "bxc", "abxc"),  # a was removed
        ("abc", "axc", "axbc"),  # b was replaced
        ("abc", "cxba", "abcx"),  # reordered
    ],
)
def test_merge_has_each_id_once_and_in_order(sealed: str, present: str, merged: str) -> None:
    ids = {name: name.encode() for name in "abcxy"}
    result = merge_in_order([ids[name] for name in sealed], [ids[name] for name in present])
    assert b"".join(result).decode() == merged


def test_transaction_began_after_the_seals_below_its_number() -> None:
    times = SealTimes(-1.0)
    times.add(10.0, next_xid=100)
    times.add(20.0, next_xid=200)
    assert [times.last_before(xid) for xid in (1, 99, 100, 199, 200, 999)] == [-1, -1, 10, 10, 20, 20]
