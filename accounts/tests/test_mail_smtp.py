"""What the SMTP backend sends, and how it handles replies and failures."""

import re
import ssl
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from django.core import mail

from accounts.jobs.worker import LEASE
from accounts.mail import messages, smtp
from accounts.mail.smtp import NotDeliveredError, Stage
from accounts.tests.support.flows import log_lines
from accounts.tests.support.mail_server import (
    Received,
    RefusingSMTP,
    Serve,
    certificate,
    deploy,
    serve,
    slow_server,
    tls,
    trusted,
)
from config.tests.support.accounts import Person, make_creator
from tenancy.context import OPERATOR, using_alias

__all__ = ["certificate", "deploy", "serve", "tls", "trusted"]
ADDRESS = "ada@example.com"
KINDS: dict[str, dict[str, Any]] = {
    "address_used": {"reset_url": "https://accounts.acme.example/account/password-reset/"},
    "email_change": {"link": "https://accounts.acme.example/account/x/" + "y" * 66, "expires_minutes": 9},
    "email_change_notice": {"link": "https://accounts.acme.example/account/x/", "new_email": "b@example.org"},
    "password_reset": {"link": "https://accounts.acme.example/account/x/", "expires_minutes": 15},
    "security_notice": {"notices": [], "is_staff": False, "action_url": "https://accounts.acme.example"},
    "test": {},
    "verify_email": {"link": "https://accounts.acme.example/account/x/" + "y" * 66, "expires_hours": 24},
}


def send(kind: str = "verify_email", *, to: str = ADDRESS, language: str = "en", **more: Any) -> None:
    with using_alias(OPERATOR):
        messages.send(kind, to=to, language=language, **{**KINDS[kind], **more})


def sent(server: Any) -> Received:
    (received,) = server.mails
    assert isinstance(received, Received)
    return received


@pytest.mark.parametrize(
    ("given", "header", "envelope"),
    [
        ("Acme <accounts@acme.example>", "Acme <accounts@acme.example>", "accounts@acme.example"),
        ("accounts@acme.example", "accounts@acme.example", "accounts@acme.example"),
        ("Acme, Inc. <a@acme.example>", '"Acme, Inc." <a@acme.example>', "a@acme.example"),
        ("Äcme <a@äcme.example>", "Äcme <a@xn--cme-pla.example>", "a@xn--cme-pla.example"),
    ],
)
def test_email_from_sets_header_and_envelope_sender(
    serve: Serve, deploy: Any, given: str, header: str, envelope: str
) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}", EMAIL_FROM=given)
    send()
    assert sent(server).sender == envelope
    assert str(sent(server).message["From"]) == header
    assert "Reply-To" not in sent(server).message


def test_email_reply_to_sets_header_and_footer(serve: Serve, deploy: Any) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}", EMAIL_REPLY_TO="Support <help@acme.example>")
    send()
    assert str(sent(server).message["Reply-To"]) == "Support <help@acme.example>"
    assert "replies to it are read" in sent(server).text
    assert "nobody reads" not in sent(server).text


@pytest.mark.parametrize(
    ("env", "helo", "domain"),
    [
        ({}, "accounts.acme.example", "accounts.acme.example"),
        ({"EMAIL_FROM": "a@mail.acme.example"}, "mail.acme.example", "mail.acme.example"),
        ({"EMAIL_FROM": "a@acme.example", "EMAIL_HELO": "node7.acme.example"}, "node7.acme.example", "acme.example"),
        ({"PUBLIC_URL": "http://127.0.0.1:8000"}, "[127.0.0.1]", "[127.0.0.1]"),
        ({"PUBLIC_URL": "http://[::1]:8000"}, "[IPv6:::1]", "[IPv6:::1]"),
    ],
)  # fmt: skip
def test_ehlo_and_message_id_do_not_name_the_machine(
    serve: Serve, deploy: Any, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], helo: str, domain: str
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda *_: "localhost")
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}", **env)
    send()
    assert sent(server).helo == helo
    assert sent(server).message["Message-ID"].endswith(f"@{domain}>")
    assert b"localhost" not in sent(server).data


@pytest.mark.parametrize("offers", [set(), {"8BITMIME", "SMTPUTF8", "SIZE"}], ids=["nothing", "everything"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_all_mails_are_7_bit_with_short_crlf_lines(
    serve: Serve, deploy: Any, offers: set[str], language: str
) -> None:
    server = serve(offers=offers)
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}", EMAIL_FROM="Ä" * 60 + " <a@acme.example>")
    make_creator(ADDRESS)
    for kind in KINDS:
        send(kind, language=language, display_name="Zoë " + "ü" * 900)
    assert len(server.mails) == len(KINDS)
    for received in server.mails:
        assert received.data.isascii()
        assert b"\n" not in received.data.replace(b"\r\n", b"")
        assert b"\r" not in received.data.replace(b"\r\n", b"")
        assert max(map(len, received.data.split(b"\r\n"))) <= 998
        for part in received.message.walk():
            if not part.is_multipart():
                assert part["Content-Transfer-Encoding"] in {"7bit", "quoted-printable", "base64"}
        assert ("Guten Tag" if language == "de" else "Hello") in received.text


def test_english_mail_file_is_readable(deploy: Any, settings: Any, tmp_path: Path) -> None:
    deploy()
    settings.EMAIL_FILE_PATH = tmp_path
    send(language="en")
    send(language="de")
    first, second = (
        path.read_bytes() for path in sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    )
    assert KINDS["verify_email"]["link"].encode() in first
    assert first.isascii()
    assert second.isascii()


def test_headers_mark_the_mail_as_automatic(serve: Serve, deploy: Any) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    send()
    message = sent(server).message
    assert message["Auto-Submitted"] == "auto-generated"
    suppressed = {word.strip() for word in message["X-Auto-Response-Suppress"].split(",")}
    assert {"OOF", "AutoReply"} <= suppressed
    assert not {"All", "NDR"} & suppressed  # non-delivery reports are wanted
    assert parsedate_to_datetime(message["Date"])
    assert "List-Unsubscribe" not in message
    assert re.fullmatch(r"<[^<>@\s]+@accounts\.acme\.example>", message["Message-ID"])


def test_percent_encoded_credentials_are_decoded(serve: Serve, deploy: Any) -> None:
    server = serve(passwords={"acme@relay": "p@ss/w:rd+%"})
    deploy(EMAIL_URL=f"smtp://acme%40relay:p%40ss%2Fw%3Ard+%25@127.0.0.1:{server.port}")
    send()
    assert sent(server).user == "acme@relay"
    assert not sent(server).over_tls


@pytest.mark.parametrize("scheme", ["smtp+tls", "smtp+starttls", "smtps", "smtp+ssl"])
def test_scheme_selects_the_kind_of_tls(
    serve: Serve, deploy: Any, tls: ssl.SSLContext, trusted: None, scheme: str
) -> None:
    server = serve(tls=tls, implicit_tls=scheme in {"smtps", "smtp+ssl"}, passwords={"acme": "secret"})
    deploy(EMAIL_URL=f"{scheme}://acme:secret@localhost:{server.port}")
    send()
    assert sent(server).over_tls
    assert sent(server).user == "acme"


@pytest.mark.parametrize(
    ("scheme", "stage"),
    [("smtp+tls", Stage.STARTTLS), ("smtp+starttls", Stage.STARTTLS), ("smtps", Stage.TLS)],
)
def test_untrusted_certificate_gets_no_mail_and_no_password(
    serve: Serve, deploy: Any, tls: ssl.SSLContext, scheme: str, stage: Stage
) -> None:
    server = serve(tls=tls, implicit_tls=scheme == "smtps", passwords={"acme": "secret"})
    deploy(EMAIL_URL=f"{scheme}://acme:secret@localhost:{server.port}")
    with pytest.raises(NotDeliveredError) as caught:
        send()
    assert caught.value.stage is stage
    assert "certificate verify failed" in caught.value.reply
    assert server.recipients == []


def test_certificate_for_another_host_gets_no_mail(
    serve: Serve, deploy: Any, tls: ssl.SSLContext, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(tls=tls)
    deploy(EMAIL_URL=f"smtp+tls://127.0.0.2:{server.port}")
    create_connection = smtp.socket.create_connection
    monkeypatch.setattr(
        smtp.socket,
        "create_connection",
        lambda address, timeout: create_connection(("127.0.0.1", address[1]), timeout),
    )
    with pytest.raises(NotDeliveredError, match=r"^STARTTLS: no reply$"):
        send()


def test_nothing_is_sent_in_clear_without_starttls(serve: Serve, deploy: Any) -> None:
    server = serve(passwords={"acme": "secret"})
    deploy(EMAIL_URL=f"smtp+tls://acme:secret@127.0.0.1:{server.port}")
    with pytest.raises(NotDeliveredError) as caught:
        send()
    assert caught.value.stage is Stage.STARTTLS
    assert server.recipients == []


REFUSALS = [
    ("connection", "554 5.3.2 no service", "EMAIL_URL"),
    ("connection", "421 4.3.2 later", "EMAIL_URL"),
    ("EHLO", "550 who?", "EMAIL_HELO"),
    ("EHLO", "421 later", "EMAIL_HELO"),
    ("STARTTLS", "454 4.7.0 later", "EMAIL_URL"),
    ("STARTTLS", "501 no", "EMAIL_URL"),
    ("AUTH", "", "EMAIL_URL"),
    ("MAIL FROM", "550 5.7.1 sender not allowed", "EMAIL_FROM"),
    ("MAIL FROM", "553 5.1.8 sender not allowed", "EMAIL_FROM"),
    ("MAIL FROM", "451 4.3.0 later", "EMAIL_FROM"),
    ("RCPT TO", "450 4.2.1 {address} is busy", "EMAIL_URL"),
    ("RCPT TO", "452 4.2.2 {address} is full", "EMAIL_URL"),
    ("RCPT TO", "530 5.7.0 authentication required", "EMAIL_URL"),
    ("RCPT TO", "550 5.7.1 <{address}>: relaying denied", "EMAIL_URL"),
    ("RCPT TO", "554 5.7.1 <{address}>: Relay access denied", "EMAIL_URL"),
    ("RCPT TO", "553 5.7.1 sender not owned by user", "EMAIL_URL"),
    ("RCPT TO", "550 5.1.8 sender domain not found", "EMAIL_URL"),
    ("RCPT TO", "550 relay not permitted", "EMAIL_URL"),
    ("RCPT TO", "554 transaction failed", "EMAIL_URL"),
    ("DATA", "451 4.3.0 {address}: later", "EMAIL_FROM"),
    ("DATA", "503 5.5.1 out of sequence", "EMAIL_FROM"),
]


@pytest.mark.parametrize(("stage", "reply", "setting"), REFUSALS)
def test_temporary_failure_is_retried_and_names_the_setting(  # noqa: PLR0917
    serve: Serve, deploy: Any, tls: ssl.SSLContext, trusted: None, stage: str, reply: str, setting: str
) -> None:
    refuses = {stage: reply} if reply else {}
    server = serve(tls=tls, refuses=refuses, passwords={"acme": "secret"})
    password = "secret" if reply else "wrong"
    deploy(EMAIL_URL=f"smtp+tls://acme:{password}@localhost:{server.port}")
    with log_lines() as lines, pytest.raises(NotDeliveredError) as caught:
        send()
    assert caught.value.stage == stage
    assert caught.value.code == int(reply[:3] if reply else 535)
    assert not caught.value.is_final
    assert f'"setting": "{setting}"' in lines.getvalue()
    assert f'"stage": "{stage}"' in lines.getvalue()
    for secret in ("ada@", "secret", "later", "denied"):
        assert secret not in lines.getvalue()


def test_connection_failure_names_its_stage(deploy: Any) -> None:
    deploy(EMAIL_URL="smtp://127.0.0.1:1")
    with pytest.raises(NotDeliveredError, match=r"^connection: no reply$"):
        send()


@pytest.mark.parametrize("piece", [b"220-wait\r\n", b"2"], ids=["lines", "bytes"])
def test_slow_server_is_cut_off(deploy: Any, monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(smtp, "SESSION_SECONDS", 0.3)
    with slow_server(piece) as port:
        deploy(EMAIL_URL=f"smtp://127.0.0.1:{port}")
        with pytest.raises(NotDeliveredError) as caught:
            send()
    assert caught.value.stage is Stage.CONNECT


def test_slow_tls_handshake_is_cut_off(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "SESSION_SECONDS", 0.3)
    with slow_server(b"\x16\x03\x03\x3f\xff"[:1]) as port:
        deploy(EMAIL_URL=f"smtps://127.0.0.1:{port}")
        with pytest.raises(NotDeliveredError) as caught:
            send()
    assert caught.value.stage is Stage.TLS


def test_session_deadline_is_half_the_worker_lease() -> None:
    assert LEASE.total_seconds() >= smtp.SESSION_SECONDS * 2


def test_failed_quit_does_not_fail_the_mail(
    serve: Serve, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close_transport(self: RefusingSMTP, arg: str) -> None:
        assert self.transport
        self.transport.close()

    monkeypatch.setattr(RefusingSMTP, "smtp_QUIT", close_transport)
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    send()  # an error would repeat the email
    assert len(server.mails) == 1


def test_non_ascii_addresses_without_smtputf8(serve: Serve, deploy: Any) -> None:
    server = serve(offers=set())
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    send(to="zoë@example.com")
    assert server.recipients == []
    send(to="zoe@exämple.com")
    assert server.recipients == ["zoe@xn--exmple-cua.com"]


def test_tests_send_no_mail(ada: Person) -> None:
    send()
    assert len(mail.outbox) == 1
