"""`send_test_mail` reports what it did, or in one line what failed."""

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
    output = io.StringIO()
    call_command("send_test_mail", address, stdout=output)
    return output.getvalue()


def test_output_has_mail_server_and_reply(
    serve: Serve, deploy: Any, tls: ssl.SSLContext, trusted: None
) -> None:
    server = serve(tls=tls, passwords={"acme": "secret"})
    deploy(
        EMAIL_URL=f"smtp+tls://acme:secret@localhost:{server.port}",
        EMAIL_FROM="Acme <accounts@acme.example>",
        EMAIL_REPLY_TO="help@acme.example",
    )
    output = run()
    (received,) = server.mails
    assert "From: Acme <accounts@acme.example>, bounces to accounts@acme.example\n" in output
    assert "Reply-To: help@acme.example\n" in output
    assert "To: olga@example.com\n" in output
    assert f"Message-ID: {received.message['Message-ID']}\n" in output
    assert f"Server: localhost:{server.port}, as acme, EHLO acme.example\n" in output
    assert "TLS: TLSv1.3 by STARTTLS, certificate verified\n" in output
    assert output.endswith("Reply: 250 2.0.0 queued as 4711\n")
    assert "secret" not in output
    assert "This is a test." in received.text


def test_plain_connection_is_reported(serve: Serve, deploy: Any) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    output = run()
    assert f"Server: 127.0.0.1:{server.port}, without AUTH, EHLO accounts.acme.example\n" in output
    assert "TLS: none\n" in output


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
def test_failure_names_the_stage_in_one_line(
    serve: Serve, deploy: Any, properties: dict[str, Any], line: str
) -> None:
    server = serve(**properties)
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with pytest.raises(CommandError) as caught:
        run()
    assert str(caught.value) == line


def test_connection_failure_is_one_line(deploy: Any) -> None:
    deploy(EMAIL_URL="smtp://127.0.0.1:1")
    with pytest.raises(
        CommandError, match=r"^connection: no reply: [^\n]*refused[^\n]* \(setting: EMAIL_URL\)$"
    ):
        run()


def test_mail_written_to_a_file_is_reported(deploy: Any, settings: Any, tmp_path: Path) -> None:
    deploy()
    settings.EMAIL_FILE_PATH = tmp_path
    assert f"Server: none, EMAIL_URL is not set; written to {tmp_path}\n" in run()
    assert len(list(tmp_path.iterdir())) == 1


def test_invalid_address_is_refused() -> None:
    with pytest.raises(CommandError):
        run("rubbish")
