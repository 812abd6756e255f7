"""The lines that `make run` prints, and the first steps that it suggests."""

import shlex
import sys
from pathlib import Path

from .instance import ROOT, Instance

# Each line can be pasted into a shell as it is.
FIRST_STEPS = r"""Ready: %(public)s (Ctrl-C stops it)
  Documentation: /api/docs/    Operators: /admin/, with an authenticator app, after
    %(data_dir)s.venv/bin/python manage.py createsuperuser
  To sign up and sign in (%(mail)s):
    api() { curl -sS -H 'Content-Type: application/json' %(base)s/api/v1/auth/"$@"; echo; }
    word='seven lanterns above a quiet harbour'
    api register -d "{\"email\": \"%(address)s\", \"password\": \"$word\"}"
"""
BY_FILE = r"""    sleep 3; mail=%(mails)s/$(ls -t %(mails)s | head -1); cat "$mail"
    set -- $(grep -o 'verify-email/[^/]*/[^/]*' "$mail" | head -1 | tr / ' ')
    pair=$(api email/verify -d "{\"uid\": \"$2\", \"token\": \"$3\", \"password\": \"$word\"}"); echo "$pair"
    api me -H "Authorization: Bearer $(echo "$pair" | sed 's/.*"access": *"\([^"]*\).*/\1/')"
"""
BY_MAIL = r"""    # open the link in the email, enter the password $word, then:
    pair=$(api login -d "{\"email\": \"%(address)s\", \"password\": \"$word\"}"); echo "$pair"
    api me -H "Authorization: Bearer $(echo "$pair" | sed 's/.*"access": *"\([^"]*\).*/\1/')"
"""


def log(line: str) -> None:
    print(line, flush=True)


def argon2_build() -> str:
    """Which Argon2 the Makefile installed."""
    if (Path(sys.prefix) / "argon2.note").exists():
        return "Using an Argon2 build for this processor"
    return "Using the prebuilt Argon2 wheel; install a C compiler and Python headers for ~50 % faster hashing"


def first_steps(instance: Instance) -> str:
    is_default_dir = instance.data_dir == ROOT / "var"
    by_mail = "EMAIL_URL" in instance.given
    return (FIRST_STEPS + (BY_MAIL if by_mail else BY_FILE)) % {
        "public": instance.public_url or instance.base_url,
        "base": instance.base_url,
        "mail": "emails go to the server of EMAIL_URL" if by_mail else "emails are files here",
        "address": "YOU@YOUR.DOMAIN" if by_mail else "ada@example.com",
        "mails": shlex.quote(str(instance.data_dir / "mail")),
        "data_dir": "" if is_default_dir else f"DATA_DIR={shlex.quote(str(instance.data_dir))} ",
    }
