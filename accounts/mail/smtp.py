"""Django's SMTP backend with three differences.

An error names the stage of the SMTP session, EHLO sends EMAIL_HELO, and the whole session has a deadline:
EMAIL_TIMEOUT limits each read only, so a server that sends byte by byte could block the worker.
"""

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parseaddr
from enum import StrEnum

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend as DjangoBackend
from django.utils.encoding import punycode

SESSION_SECONDS = 60  # from the connection to QUIT; the worker's lease is twice as long
_STATUS = re.compile(r"(5\.\d{1,3}\.\d{1,3})\b")  # RFC 3463, at the start of the reply text
_RECIPIENT_STATUSES = ("5.0.", "5.1.", "5.2.", "5.4.")
_SENDER_STATUSES = {"5.1.7", "5.1.8"}
_MAILBOX_FULL_STATUSES = {"5.2.2", "5.2.3"}
_ADDRESS = re.compile(r"\S*@\S*")
# in the reply text of servers that send no status
_NOT_ABOUT_RECIPIENT = re.compile(r"relay|authenticat|sender", re.IGNORECASE)


class Stage(StrEnum):
    """The stages of an SMTP session (RFC 5321)."""

    CONNECT = "connection"
    EHLO = "EHLO"
    TLS = "TLS"  # implicit
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"


# the setting to check if a stage fails
SETTINGS = {
    Stage.CONNECT: "EMAIL_URL",
    Stage.EHLO: "EMAIL_HELO",
    Stage.TLS: "EMAIL_URL",
    Stage.STARTTLS: "EMAIL_URL",
    Stage.AUTH: "EMAIL_URL",
    Stage.MAIL: "EMAIL_FROM",
    Stage.RCPT: "EMAIL_URL",
    Stage.DATA: "EMAIL_FROM",
}


@dataclass(frozen=True)
class Receipt:
    """The server's reply to DATA, and the TLS version ("" without TLS)."""

    reply: str
    tls: str


class NotDeliveredError(Exception):
    """The server did not accept the email.

    `reply` is the text of its reply and may contain the address. Without a reply, `code` is None and `reply`
    is the text of the network error.
    """

    def __init__(self, stage: Stage, code: int | None, reply: str) -> None:
        super().__init__(stage, code)
        self.stage, self.code, self.reply = stage, code, reply

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 3463), "" if the server sends none."""
        match = _STATUS.match(self.reply)
        return match[1] if match else ""

    @property
    def is_final(self) -> bool:
        """Whether the server refuses this recipient or this email, so that a retry would fail too.

        Other failures can be fixed: 4xx, no connection, and what affects all emails (a 5xx before RCPT TO,
        or at RCPT TO about relaying, authentication or the sender).
        """
        if self.code is None or not 550 <= self.code <= 556 or self.code == 555:  # noqa: PLR2004  555: parameters
            return False
        return self.stage is Stage.DATA or (self.stage is Stage.RCPT and self._is_about_recipient())

    @property
    def is_undeliverable(self) -> bool:
        """Whether the address accepts no email at all. A full mailbox does not count."""
        is_full = self.code == 552 or self.status in _MAILBOX_FULL_STATUSES  # noqa: PLR2004
        return self.is_final and self.stage is Stage.RCPT and not is_full

    def _is_about_recipient(self) -> bool:
        if self.status:
            return self.status.startswith(_RECIPIENT_STATUSES) and self.status not in _SENDER_STATUSES
        # 554 alone means only that the transaction failed
        return self.code != 554 and not _NOT_ABOUT_RECIPIENT.search(_ADDRESS.sub("", self.reply))  # noqa: PLR2004

    def __str__(self) -> str:
        """For logs, so without the reply."""
        return f"{self.stage}: {self.code or 'no reply'}"


class EmailBackend(DjangoBackend):
    """Opens one connection per email. Each email must have one recipient."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            self.deliver(message)
        return len(email_messages)

    def deliver(self, message: EmailMessage) -> Receipt:
        """Raises NotDeliveredError."""
        recipient = _envelope_recipient(message)
        data = message.message().as_bytes(linesep="\r\n")  # type: ignore[call-arg]
        with self._session() as smtp:
            size = [f"size={len(data)}"] if smtp.has_extn("size") else []
            with _during(Stage.MAIL):
                _expect_success(smtp.mail(parseaddr(message.from_email)[1], size))
            with _during(Stage.RCPT):
                _expect_success(smtp.rcpt(recipient))
            with _during(Stage.DATA):
                reply = _expect_success(smtp.data(data))
            tls = smtp.sock.version() if isinstance(smtp.sock, ssl.SSLSocket) else None
        return Receipt(reply, tls or "")

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """A session with TLS and AUTH as configured by EMAIL_URL; closed at the end."""
        with self._socket() as connection:
            with _during(Stage.CONNECT):
                smtp = _Session(self.host, connection)
            with closing(smtp):
                try:
                    self._negotiate(smtp)
                    yield smtp
                finally:
                    with suppress(OSError):  # the reply to DATA decides, not that to QUIT
                        smtp.quit()

    def _negotiate(self, smtp: smtplib.SMTP) -> None:
        self._send_ehlo(smtp)
        if self.use_tls:
            with _during(Stage.STARTTLS):
                smtp.starttls(context=self.ssl_context)
            self._send_ehlo(smtp)
        if self.username:
            with _during(Stage.AUTH):
                smtp.login(self.username, self.password)

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        with _during(Stage.CONNECT):
            plain = socket.create_connection((self.host, self.port), self.timeout)
        with plain, _deadline(plain):
            if not self.use_ssl:
                yield plain
                return
            with _during(Stage.TLS):
                encrypted = self.ssl_context.wrap_socket(plain, server_hostname=self.host)
            with encrypted:
                yield encrypted

    @staticmethod
    def _send_ehlo(smtp: smtplib.SMTP) -> None:
        with _during(Stage.EHLO):
            smtp.ehlo_or_helo_if_needed()


class _Session(smtplib.SMTP):
    """smtplib's session over a connection that is already open."""

    def __init__(self, host: str, connection: socket.socket) -> None:
        self._connection = connection
        super().__init__(host, local_hostname=settings.EMAIL_HELO)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connection


def _envelope_recipient(message: EmailMessage) -> str:
    """The recipient for RCPT TO without SMTPUTF8, which many servers do not support."""
    (recipient,) = message.recipients()
    local, _, domain = parseaddr(recipient)[1].rpartition("@")
    if not local.isascii():
        raise NotDeliveredError(Stage.RCPT, 553, "5.1.3 only ASCII before the @ can be delivered")
    return f"{local}@{punycode(domain)}"


@contextmanager
def _during(stage: Stage) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise NotDeliveredError(stage, error.smtp_code, _text(error.smtp_error)) from error
    except OSError as error:  # smtplib's other exceptions, and those of sockets and TLS
        raise NotDeliveredError(stage, None, _text(str(error) or type(error).__name__)) from error


def _expect_success(response: tuple[int, bytes]) -> str:
    code, reply = response
    if not 200 <= code < 300:  # noqa: PLR2004
        raise smtplib.SMTPResponseException(code, reply)
    return f"{code} {_text(reply)}"


def _text(reply: bytes | str) -> str:
    """One line without control characters."""
    text = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def _deadline(connection: socket.socket) -> Iterator[None]:
    """Shut the connection down after SESSION_SECONDS; a blocked read then returns."""
    handle = connection.dup()  # wrap_socket() detaches the original
    timer = threading.Timer(SESSION_SECONDS, _shut_down, [handle])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()


def _shut_down(handle: socket.socket) -> None:
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
