"""Django's SMTP backend, with three differences: a failure names its stage, EHLO says EMAIL_HELO, and the
whole exchange has a deadline (EMAIL_TIMEOUT is for each step, and a server that drips would hold the worker).
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

EXCHANGE_SECONDS = 60  # from the connection on; the worker's lease is twice as long
_STATUS = re.compile(r"(5\.\d{1,3}\.\d{1,3})\b")  # RFC 3463, at the beginning of the server's words
_OF_THE_RECIPIENT = ("5.0.", "5.1.", "5.2.", "5.4.")
_OF_THE_SENDER = {"5.1.7", "5.1.8"}
_MAILBOX_FULL = {"5.2.2", "5.2.3"}
_ADDRESS = re.compile(r"\S*@\S*")
# from servers that give no status
_NOT_OF_THE_RECIPIENT = re.compile(r"relay|authenticat|sender", re.IGNORECASE)


class Stage(StrEnum):
    """Of an SMTP session (RFC 5321)."""

    CONNECT = "connection"
    EHLO = "EHLO"
    TLS = "TLS"  # from the first byte
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"


# what to look at if the server refuses there
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
    """What the server said in the end, and the version of TLS, "" without."""

    answer: str
    tls: str


class NotDeliveredError(Exception):
    """The server did not take the mail. `code` is None if it gave no answer; `words` may hold the address."""

    def __init__(self, stage: Stage, code: int | None, words: str) -> None:
        super().__init__(stage, code)
        self.stage, self.code, self.words = stage, code, words

    @property
    def status(self) -> str:
        """RFC 3463's, "" if the server gives none."""
        found = _STATUS.match(self.words)
        return found[1] if found else ""

    @property
    def is_final(self) -> bool:
        """Another attempt would end the same way: it is this recipient or this mail that is refused.

        Everything else may be mended: 4xx, a server that is away, and what concerns all mails: a 5xx
        before RCPT TO, or one at RCPT TO about relaying, authentication or the sender.
        """
        if self.code is None or not 550 <= self.code <= 556 or self.code == 555:  # noqa: PLR2004  555: parameters
            return False
        return self.stage is Stage.DATA or (self.stage is Stage.RCPT and self._is_about_recipient())

    @property
    def is_undeliverable(self) -> bool:
        """The address takes no mail at all; a full mailbox will."""
        is_full = self.code == 552 or self.status in _MAILBOX_FULL  # noqa: PLR2004
        return self.is_final and self.stage is Stage.RCPT and not is_full

    def _is_about_recipient(self) -> bool:
        if self.status:
            return self.status.startswith(_OF_THE_RECIPIENT) and self.status not in _OF_THE_SENDER
        # 554 alone says only that the transaction failed
        return self.code != 554 and not _NOT_OF_THE_RECIPIENT.search(_ADDRESS.sub("", self.words))  # noqa: PLR2004

    def __str__(self) -> str:
        """One line, as for the log: without the words."""
        return f"{self.stage}: {self.code or 'no answer'}"


class EmailBackend(DjangoBackend):
    """One connection for each mail; ours have one recipient."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            self.deliver(message)
        return len(email_messages)

    def deliver(self, message: EmailMessage) -> Receipt:
        """Raises NotDeliveredError."""
        recipient = _envelope(message)
        data = message.message().as_bytes(linesep="\r\n")  # type: ignore[call-arg]
        with self._session() as smtp:
            size = [f"size={len(data)}"] if smtp.has_extn("size") else []
            with _at(Stage.MAIL):
                _expect(smtp.mail(parseaddr(message.from_email)[1], size))
            with _at(Stage.RCPT):
                _expect(smtp.rcpt(recipient))
            with _at(Stage.DATA):
                answer = _expect(smtp.data(data))
            tls = smtp.sock.version() if isinstance(smtp.sock, ssl.SSLSocket) else None
        return Receipt(answer, tls or "")

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """Connected, with TLS and AUTH as EMAIL_URL says; closed in the end, however it ends."""
        with self._socket() as connected:
            with _at(Stage.CONNECT):
                smtp = _Session(self.host, connected)
            with closing(smtp):
                try:
                    self._sign_in(smtp)
                    yield smtp
                finally:
                    with suppress(OSError):  # what it has taken it has, whatever becomes of the farewell
                        smtp.quit()

    def _sign_in(self, smtp: smtplib.SMTP) -> None:
        self._say_hello(smtp)
        if self.use_tls:
            with _at(Stage.STARTTLS):
                smtp.starttls(context=self.ssl_context)
            self._say_hello(smtp)
        if self.username:
            with _at(Stage.AUTH):
                smtp.login(self.username, self.password)

    @contextmanager
    def _socket(self) -> Iterator[socket.socket]:
        with _at(Stage.CONNECT):
            plain = socket.create_connection((self.host, self.port), self.timeout)
        with plain, _cut_off(plain):
            if not self.use_ssl:
                yield plain
                return
            with _at(Stage.TLS):
                encrypted = self.ssl_context.wrap_socket(plain, server_hostname=self.host)
            with encrypted:
                yield encrypted

    @staticmethod
    def _say_hello(smtp: smtplib.SMTP) -> None:
        with _at(Stage.EHLO):
            smtp.ehlo_or_helo_if_needed()


class _Session(smtplib.SMTP):
    """Over a connection that is there already, with its timeout."""

    def __init__(self, host: str, connected: socket.socket) -> None:
        self._connected = connected
        super().__init__(host, local_hostname=settings.EMAIL_HELO)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connected


def _envelope(message: EmailMessage) -> str:
    """The recipient as RCPT TO takes it without SMTPUTF8, which not every server on the way has."""
    (recipient,) = message.recipients()
    local, _, domain = parseaddr(recipient)[1].rpartition("@")
    if not local.isascii():
        raise NotDeliveredError(Stage.RCPT, 553, "5.1.3 only ASCII before the @ can be delivered")
    return f"{local}@{punycode(domain)}"


@contextmanager
def _at(stage: Stage) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise NotDeliveredError(stage, error.smtp_code, _text(error.smtp_error)) from error
    except OSError as error:  # smtplib's other exceptions, and those of sockets and TLS
        raise NotDeliveredError(stage, None, _text(str(error) or type(error).__name__)) from error


def _expect(reply: tuple[int, bytes]) -> str:
    code, words = reply
    if not 200 <= code < 300:  # noqa: PLR2004
        raise smtplib.SMTPResponseException(code, words)
    return f"{code} {_text(words)}"


def _text(words: bytes | str) -> str:
    """On one line, without control characters."""
    text = words.decode("ascii", "replace") if isinstance(words, bytes) else words
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def _cut_off(connected: socket.socket) -> Iterator[None]:
    """Shut the connection down at the deadline; whoever reads from it sees its end."""
    handle = connected.dup()  # TLS takes the socket itself away
    timer = threading.Timer(EXCHANGE_SECONDS, _shut_down, [handle])
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
