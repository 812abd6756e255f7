import json
from typing import Any

from django.core.management.base import CommandParser

from audit.models import Seal
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Print the seals of the audit log as JSON lines. Store them where this machine can't write: "
        "`verify_audit --against FILE` then finds a truncated or rebuilt chain."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--after", type=int, default=0, metavar="N", help="only seals after seal N")

    def handle(self, *args: Any, **options: Any) -> None:
        seals = Seal.objects.filter(number__gt=options["after"]).order_by("number").defer("leaves")
        for seal in seals.iterator():
            line = {"statement": seal.statement, "signature": bytes(seal.signature).hex()}
            self.stdout.write(json.dumps(line))
