from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.mail import messages
from accounts.mail.smtp import SETTINGS, EmailBackend, NotDeliveredError
from accounts.management.arguments import address as stored_address


class Command(BaseCommand):
    help = "Send an email to ADDRESS and print its headers, the server, the user and the server's reply."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", type=stored_address)

    def handle(self, *args: Any, address: str, **options: Any) -> None:
        mail = messages.compose("test", to=address, language=settings.LANGUAGE_CODE)
        self._print_headers(mail)
        backend = get_connection()
        if isinstance(backend, EmailBackend):
            self._deliver(backend, mail)
        else:
            mail.send()
            self.stdout.write(f"Server: none, EMAIL_URL is not set; written to {settings.EMAIL_FILE_PATH}")

    def _print_headers(self, mail: EmailMultiAlternatives) -> None:
        self.stdout.write(f"From: {settings.DEFAULT_FROM_EMAIL}, bounces to {settings.EMAIL_SENDER}")
        self.stdout.write(f"Reply-To: {settings.EMAIL_REPLY_TO or 'none'}")
        self.stdout.write(f"To: {mail.to[0]}")
        self.stdout.write(f"Subject: {mail.subject}, Message-ID: {mail.extra_headers['Message-ID']}")

    def _deliver(self, backend: EmailBackend, mail: EmailMultiAlternatives) -> None:
        user = f"as {backend.username}" if backend.username else "without AUTH"
        self.stdout.write(f"Server: {backend.host}:{backend.port}, {user}, EHLO {settings.EMAIL_HELO}")
        try:
            receipt = backend.deliver(mail)
        except NotDeliveredError as error:
            message = f"{error}: {error.reply} (setting: {SETTINGS[error.stage]})"
            raise CommandError(message) from error
        kind = "from the first byte" if backend.use_ssl else "by STARTTLS"
        tls = f"{receipt.tls} {kind}, certificate verified" if receipt.tls else "none"
        self.stdout.write(f"TLS: {tls}")
        self.stdout.write(f"Reply: {receipt.reply}")
