import gc
import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured

gc.disable()  # nothing is thrown away while all is loaded; looking for it is a sixth of the start
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
try:
    django.setup(set_prefix=False)
    from .handler import Handler

    application = Handler()
except ImproperlyConfigured as error:
    sys.exit(str(error))

from . import urls  # noqa: E402, F401  # before the first request asks for it

gc.freeze()  # what is loaded stays, and hardly any of it is garbage; each look through it all takes 70 ms
gc.enable()
