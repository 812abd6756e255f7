"""A local SMTP server that stores received emails and refuses commands as configured."""

import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.tests.support.settings import load_settings

logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # of aiosmtpd: logs every command
MAIL_SETTINGS = (
    "EMAIL_BACKEND", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS",
    "EMAIL_USE_SSL", "EMAIL_TIMEOUT", "EMAIL_FILE_PATH", "DEFAULT_FROM_EMAIL", "SERVER_EMAIL", "EMAIL_SENDER",
    "EMAIL_REPLY_TO", "EMAIL_HELO",
)  # fmt: skip


@dataclass
class Received:
    sender: str
    recipient: str
    data: bytes
    helo: str
    over_tls: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.data, policy=policy.default)

    @property
    def text(self) -> str:
        part = self.message.get_body(("plain",))
        assert part
        return str(part.get_content())


@dataclass
class MailServer:
    """With `refuses["RCPT TO"] = "550 5.1.1 no"` that is the reply; `{address}` in it is the recipient."""

    offers: set[str] = field(default_factory=lambda: {"8BITMIME", "SMTPUTF8", "SIZE"})
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    passwords: dict[str, str] = field(default_factory=dict)  # user → password; empty: no AUTH
    refuses: dict[str, str] = field(default_factory=dict)
    refused_recipients: dict[str, str] = field(default_factory=dict)
    mails: list[Received] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)  # of RCPT TO, accepted or not
    port: int = 0

    # aiosmtpd's hooks
    async def handle_EHLO(self, server: Any, session: Any, _: Any, hostname: str, lines: list[str]) -> Any:  # noqa: N802
        session.host_name = hostname
        known = {"8BITMIME", "SMTPUTF8", "SIZE"}
        kept = [line for line in lines if line[4:].split()[0] not in known - self.offers]
        return [self.refuses["EHLO"]] if "EHLO" in self.refuses else kept

    async def handle_HELO(self, server: Any, session: Any, _: Any, hostname: str) -> str:  # noqa: N802
        session.host_name = hostname
        return self.refuses.get("EHLO", "250 hello")

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        envelope.mail_from = address
        return self.refuses.get("MAIL FROM", "250 2.1.0 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.recipients.append(address)
        refusal = self.refused_recipients.get(address) or self.refuses.get("RCPT TO")
        if refusal:
            return refusal.replace("{address}", address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if refusal := self.refuses.get("DATA"):
            return refusal.replace("{address}", envelope.rcpt_tos[0])
        login = session.auth_data.login.decode() if session.auth_data else ""
        (recipient,) = envelope.rcpt_tos
        over_tls = session.ssl is not None or self.implicit_tls
        self.mails.append(
            Received(
                envelope.mail_from, recipient, envelope.original_content, session.host_name, over_tls, login
            )
        )
        return "250 2.0.0 queued as 4711"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        if self.passwords.get(data.login.decode()) == data.password.decode():
            return AuthResult(success=True, auth_data=data)
        return AuthResult(success=False, handled=False)


class RefusingSMTP(SMTP):
    """Adds refusals of the connection and of STARTTLS, for which aiosmtpd has no hooks."""

    async def push(self, status: Any) -> None:
        refusal = self.event_handler.refuses.get("connection")
        if refusal and str(status).startswith("220 ") and self.session and not self.session.host_name:
            status = refusal
        await super().push(status)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        if refusal := self.event_handler.refuses.get("STARTTLS"):
            await self.push(refusal)
        else:
            await super().smtp_STARTTLS(arg)


class MailController(Controller):
    def __init__(self, server: MailServer, **options: Any) -> None:
        super().__init__(server, **options)
        self.sessions: list[RefusingSMTP] = []

    async def close_sessions(self) -> None:
        """Close the connections; aiosmtpd leaves them to the garbage collector, which warns."""
        for session in self.sessions:
            if session.transport:
                session.transport.abort()
        handlers = [session._handler_coroutine for session in self.sessions if session._handler_coroutine]
        await asyncio.gather(*handlers, return_exceptions=True)
        await asyncio.sleep(0)

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self.close_sessions(), self.loop).result(timeout=10)
        super().stop(no_assert)

    def factory(self) -> SMTP:
        server: MailServer = self.handler
        session = RefusingSMTP(
            server,
            hostname="mail.test",
            enable_SMTPUTF8="SMTPUTF8" in server.offers,
            tls_context=None if server.implicit_tls else server.tls,
            auth_require_tls=False,
            authenticator=server.authenticate if server.passwords else None,
        )
        session._auth_required = bool(server.passwords)  # the argument would warn of AUTH without TLS
        self.sessions.append(session)
        return session


Serve = Callable[..., MailServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with the given properties."""
    running: list[MailController] = []

    def start(**properties: Any) -> MailServer:
        server = MailServer(**properties)
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            server.port = held.getsockname()[1]
        listener = MailController(
            server,
            hostname="127.0.0.1",
            port=server.port,
            ssl_context=server.tls if server.implicit_tls else None,
        )
        listener.start()
        running.append(listener)
        return server

    yield start
    for listener in running:
        listener.stop()


@pytest.fixture
def deploy(settings: Any) -> Callable[..., None]:
    """Apply the mail settings of a deployer's environment."""

    def read(**env: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            loaded = load_settings(patch, **{"PUBLIC_URL": "https://accounts.acme.example", **env})
        for name in MAIL_SETTINGS:
            if hasattr(loaded, name):
                setattr(settings, name, getattr(loaded, name))

    return read


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of localhost and its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]  # fmt: skip
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + pem)
    return path


@pytest.fixture(scope="session")
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the server's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@contextmanager
def slow_server(piece: bytes) -> Iterator[int]:
    """The port of a server that keeps sending `piece` until the client closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def send_slowly() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    while not stopped.wait(0.02):
                        connection.sendall(piece)
                except OSError:
                    pass

        thread = threading.Thread(target=send_slowly)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join(timeout=10)
