"""`send_test_mail` says what it did, or in one line where it failed."""

import io
import ssl
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.tests.support.mail_server import Serve, certificate, deploy, serve, tls, trusted

pytestmark = pytest.mark.no_database

__all__ = ["certificate", "deploy", "serve", "tls", "trusted"]


def run(address: str = "olga@example.com") -> str:
    told = io.StringIO()
    call_command("send_test_mail", address, stdout=told)
    return told.getvalue()


def test_it_tells_what_was_sent_where_and_what_the_server_said(
    serve: Serve, deploy: Any, tls: ssl.SSLContext, trusted: None
) -> None:
    server = serve(tls=tls, passwords={"acme": "secret"})
    deploy(
        EMAIL_URL=f"smtp+tls://acme:secret@localhost:{server.port}",
        EMAIL_FROM="Acme <accounts@acme.example>",
        EMAIL_REPLY_TO="help@acme.example",
    )
    told = run()
    (received,) = server.mails
    assert "From: Acme <accounts@acme.example>, bounces to accounts@acme.example\n" in told
    assert "Reply-To: help@acme.example\n" in told
    assert "To: olga@example.com\n" in told
    assert f"Message-ID: {received.message['Message-ID']}\n" in told
    assert f"Server: localhost:{server.port}, as acme, EHLO acme.example\n" in told
    assert "TLS: TLSv1.3 by STARTTLS, certificate verified\n" in told
    assert told.endswith("Answer: 250 2.0.0 queued as 4711\n")
    assert "secret" not in told
    assert "This is a test." in received.text


def test_plain_connection_is_told_as_such(serve: Serve, deploy: Any) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    told = run()
    assert f"Server: 127.0.0.1:{server.port}, without AUTH, EHLO accounts.acme.example\n" in told
    assert "TLS: none\n" in told


@pytest.mark.parametrize(
    ("properties", "line"),
    [
        (
            {"refuses": {"connection": "554 5.3.2 closed"}},
            "connection: 554: 5.3.2 closed (setting: EMAIL_URL)",
        ),
        (
            {"refuses": {"MAIL FROM": "550 5.7.1 not you"}},
            "MAIL FROM: 550: 5.7.1 not you (setting: EMAIL_FROM)",
        ),
        ({"refuses": {"RCPT TO": "550 5.1.1 nobody"}}, "RCPT TO: 550: 5.1.1 nobody (setting: EMAIL_URL)"),
        ({"refuses": {"DATA": "554 5.6.0 spam"}}, "DATA: 554: 5.6.0 spam (setting: EMAIL_FROM)"),
    ],
)
def test_failure_is_one_line_that_names_the_stage(
    serve: Serve, deploy: Any, properties: dict[str, Any], line: str
) -> None:
    server = serve(**properties)
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with pytest.raises(CommandError) as caught:
        run()
    assert str(caught.value) == line


def test_server_that_is_away_is_one_line_too(deploy: Any) -> None:
    deploy(EMAIL_URL="smtp://127.0.0.1:1")
    with pytest.raises(
        CommandError, match=r"^connection: no reply: [^\n]*refused[^\n]* \(setting: EMAIL_URL\)$"
    ):
        run()


def test_mails_that_are_files_are_told_as_such(deploy: Any, settings: Any, tmp_path: Path) -> None:
    deploy()
    settings.EMAIL_FILE_PATH = tmp_path
    assert f"Server: none, EMAIL_URL is not set; written to {tmp_path}\n" in run()
    assert len(list(tmp_path.iterdir())) == 1


def test_address_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError):
        run("rubbish")
