from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.arguments import address
from accounts.models import Operator
from accounts.services.operators import mfa
from audit.requests.client_info import ClientInfo
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Delete an operator's authenticator and recovery codes. New ones are set up at the next sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", type=address)

    def handle(self, *args: Any, email: str, **options: Any) -> None:
        operator = Operator.objects.filter(email=email, holds_email=True, is_staff=True).first()
        if operator is None or not mfa.reset(operator.pk, client=ClientInfo()):
            message = "no operator with this address has a second factor"
            raise CommandError(message)
        self.stdout.write("Reset.")
