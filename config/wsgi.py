import gc
import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured

gc.disable()  # loading creates almost no garbage; collecting takes a sixth of the start time
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
try:
    django.setup(set_prefix=False)
    from .handler import Handler

    application = Handler()
except ImproperlyConfigured as error:
    sys.exit(str(error))

from . import urls  # noqa: E402, F401  # load the views before the first request

gc.freeze()  # a full collection of all loaded modules would take 70 ms each time
gc.enable()
