from django.contrib.auth.management.commands import changepassword

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, changepassword.Command):
    """Django's command, as the operator."""
