"""Validation, the stored form and the displayed form of email addresses."""

import re
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.email_addresses import (
    REASONS,
    STORED_FORM,
    InvalidAddressError,
    canonical_email,
    display_email,
    search_word,
)
from accounts.mail import messages
from accounts.tests.support.mail_server import Serve, deploy, serve

pytestmark = pytest.mark.no_database

__all__ = ["deploy", "serve"]
examples = hypothesis_settings(
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)

ATEXT = "abcxyzABCXYZ0189!#$%&'*+/=?^_`{|}~-"
ENCODED_WORDS = st.sampled_from(["=?utf-8?q?bob?=", "=?utf-8?q?=00?=", "=?us-ascii?b?Ym9i?="])
PLAIN = st.lists(st.text(ATEXT, min_size=1, max_size=20), min_size=1, max_size=3).map(".".join)
LOCAL_PARTS = st.integers(0, 9).flatmap(lambda number: ENCODED_WORDS if number == 0 else PLAIN)
LABELS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    st.text(st.characters(categories=["Ll", "Lo", "Nd", "Mn"], max_codepoint=0x3FF), min_size=1, max_size=15),
    st.sampled_from(
        [
            "Bücher",
            "straße",
            "ς",
            "xn--bcher-kva",
            "한국",
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
            "ab--cd",
            "BU\u0308",
        ]
    ),
)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example"]))
LIKELY = st.tuples(LOCAL_PARTS, DOMAINS).map("@".join)
ANYTHING = st.one_of(LIKELY, st.tuples(st.text(max_size=70), st.text(max_size=70)).map("@".join), st.text())


def stored_form_of(text: str) -> str | None:
    try:
        return canonical_email(text)
    except InvalidAddressError:
        return None


ACCEPTED = LIKELY.map(stored_form_of).filter(bool)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada@example.com", "ada@example.com"),
        (" \tADA.Lovelace+x@Example.COM\n", "ada.lovelace+x@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BU\u0308CHER.example", "a@xn--bcher-kva.example"),
        ("a@XN--Bcher-KVA.example", "a@xn--bcher-kva.example"),
        ("a@bücher。example", "a@xn--bcher-kva.example"),
        ("a@\uff42ank.example", "a@bank.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("a@strasse.example", "a@strasse.example"),
        ("a@βόλος.example", "a@xn--nxasmm1c.example"),
        ("a@βόλοσ.example", "a@xn--nxasmq6b.example"),
        # between these letters RFC 5892 allows the non-joiner
        ("a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "a@xn--mgba3gch31f060k.example"),
        ("!#$%&'*+/?=^_`{|}~-@example.com", "!#$%&'*+/?=^_`{|}~-@example.com"),
        ("a@r3---sn.example.com", "a@r3---sn.example.com"),
        ("root@localhost", "root@localhost"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
        (f"a@{'b' * 63}.example", f"a@{'b' * 63}.example"),
        ("a@" + ".".join(["b" * 62] * 4), "a@" + ".".join(["b" * 62] * 4)),
    ],
)
def test_every_spelling_has_one_stored_form(typed: str, stored: str) -> None:
    assert canonical_email(typed) == stored


REFUSED = [
    ("", "malformed"),
    ("plain", "malformed"),
    ("@example.com", "local_part"),
    ("a@", "domain"),
    ("a@@example.com", "local_part"),
    ("a@b@example.com", "local_part"),
    (".a@example.com", "local_part"),
    ("a.@example.com", "local_part"),
    ("a..b@example.com", "local_part"),
    ("a b@example.com", "local_part"),
    ('"a b"@example.com', "local_part"),
    ('"a"@example.com', "local_part"),
    ("a\0@example.com", "local_part"),
    ("a(b)@example.com", "local_part"),
    ("a@example.com\r\nBcc: b@example.com", "local_part"),
    ("Ada <ada@example.com>", "local_part"),
    ("=?utf-8?q?bob?=@example.com", "encoded_word"),
    ("=?utf-8?q?=00?=@example.com", "encoded_word"),
    ("a.=?utf-8?q?=0d=0a?=@example.com", "encoded_word"),
    ("\u0131@example.com", "local_part_not_ascii"),
    ("zoë@example.com", "local_part_not_ascii"),
    ("\uff41@example.com", "local_part_not_ascii"),
    ("a\u200bb@example.com", "local_part_not_ascii"),
    ("\u212a@example.com", "local_part_not_ascii"),
    (f"{'a' * 65}@example.com", "local_part_too_long"),
    ("a@exa\u200bmple.com", "invisible"),
    ("a@exa\u00admple.com", "invisible"),
    ("a@exa\u2060mple.com", "invisible"),
    ("a@exa\ufeffmple.com", "invisible"),
    ("a@exa\ufe0fmple.com", "invisible"),
    ("a@exa\u3164mple.com", "invisible"),
    ("a@exa\u202emple.com", "domain"),
    ("a@exa\u2066mple.com", "domain"),
    ("a@exa\u200emple.com", "domain"),
    ("a@exa\u200dmple.com", "domain"),
    ("a@exa\u200cmple.com", "domain"),
    ("a@exa\0mple.com", "domain"),
    ("a@\ud800.com", "domain"),
    ("a@example..com", "domain"),
    ("a@example.com.", "domain"),
    ("a@-example.com", "domain"),
    ("a@exa_mple.com", "domain"),
    ("a@example", "domain"),
    ("a@127.0.0.1", "domain"),
    ("a@[127.0.0.1]", "domain"),
    ("a@[IPv6:::1]", "domain"),
    ("a@i❤.example", "domain"),
    ("a@xn--i-7iq.example", "domain"),
    ("a@xn--.example", "domain"),
    ("a@xn---bbk.example", "domain"),  # a second spelling of xn--bbk
    ("a@xn--abc-.example", "domain"),
    (f"a@{'b' * 64}.example", "label_too_long"),
    (f"a@{'ü' * 60}.example", "label_too_long"),
    ("a@" + ".".join(["b" * 63] * 4), "too_long"),
    ("a@" + ".".join(["ü" * 50] * 5), "too_long"),
    ("a@" + ".".join(["\ufb03" * 21] * 11) + ".de", "too_long"),
    ("a@" + "b" * 5000, "too_long"),
]


@pytest.mark.parametrize(("typed", "reason"), REFUSED, ids=lambda value: ascii(value)[:40])
def test_invalid_address_is_refused_with_its_reason(typed: str, reason: str) -> None:
    with pytest.raises(InvalidAddressError) as refused:
        canonical_email(typed)
    assert (refused.value.reason, refused.value.code) == (reason, "invalid")
    assert refused.value.messages == [str(REASONS[reason])]


def test_every_reason_has_an_example() -> None:
    assert {reason for _typed, reason in REFUSED} == set(REASONS)


@examples
@given(ANYTHING)
def test_stored_form_is_short_ascii_and_idempotent(text: str) -> None:
    stored = stored_form_of(text)
    if stored is None:
        return
    assert re.fullmatch(STORED_FORM, stored)
    assert len(stored) <= 254
    assert stored == stored.lower()
    assert canonical_email(stored) == stored
    assert canonical_email(f"\u00a0{stored.upper()} ") == stored


@examples
@given(ACCEPTED)
def test_displayed_form_maps_back_to_the_stored_form(stored: str) -> None:
    assert canonical_email(display_email(stored)) == stored


@pytest.mark.parametrize(
    ("stored", "displayed"),
    [
        ("a@xn--bcher-kva.example", "a@bücher.example"),
        ("a@xn--strae-oqa.example", "a@straße.example"),
        ("xn--bcher-kva@example.com", "xn--bcher-kva@example.com"),
        ("a@xn--i-7iq.example", "a@xn--i-7iq.example"),  # converts, but not back
        ("a@xn---bbk.example", "a@xn---bbk.example"),
        ("a@xn--bcher-kva.ab--cd.example", "a@xn--bcher-kva.ab--cd.example"),
        ("no address, xn--", "no address, xn--"),
        ("", ""),
    ],
)
def test_u_labels_are_displayed_only_if_they_map_back(stored: str, displayed: str) -> None:
    assert display_email(stored) == displayed


@pytest.mark.parametrize(
    ("word", "part"),
    [("Ada.Lo", "ada.lo"), ("bücher", "xn--bcher-kva"), ("A@Bücher.ex", "a@xn--bcher-kva.ex"), ("@", "@")],
)
def test_search_word_is_in_stored_form(word: str, part: str) -> None:
    assert search_word(word) == part


def test_postgresql_and_python_match_alike(superuser: psycopg.Connection) -> None:
    @hypothesis_settings(examples, max_examples=20)
    @given(st.lists(st.one_of(ANYTHING, ACCEPTED), min_size=30))
    def compare(texts: list[Any]) -> None:
        texts = [text.replace("\0", "").encode(errors="ignore").decode() for text in texts]
        query = "SELECT t ~ %s FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n) ORDER BY n"
        matched = [result for (result,) in superuser.execute(query, [STORED_FORM, texts])]
        assert matched == [bool(re.fullmatch(STORED_FORM, text)) for text in texts]

    compare()


# --- SMTP ---------------------------------------------------------------------------------------
def test_envelope_and_header_have_the_stored_address(serve: Serve, deploy: Any) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")

    @examples
    @given(ACCEPTED)
    def send(stored: str) -> None:
        messages.compose("address_used", to=stored, language="en").send()
        received = server.mails.pop()
        assert received.recipient == stored
        header = re.search(rb"^To:((?:.|\r\n[ \t])*)\r\n", received.data, re.MULTILINE)
        assert header
        assert header[1].replace(b"\r\n", b"").strip() == stored.encode()
        assert received.message["To"].addresses[0].addr_spec == stored

    send()
