"""WSGI entry point for gunicorn: CRL and OCSP first, Django behind them."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.production")

_django = get_wsgi_application()

from django.conf import settings  # noqa: E402

from pkiportal.monitoring.missed_run_alarm import MissedRunAlarm  # noqa: E402
from pkiportal.processes.garbage import collect_seldom  # noqa: E402
from pkiportal.web.chunked_bodies import ChunkedBodies  # noqa: E402
from pkiportal.web.content_types import ReadableTypes  # noqa: E402
from pkiportal.web.served import STATUS_PATHS, Serve, serves  # noqa: E402
from pkiportal.web.status_information import StatusInformation  # noqa: E402 - the apps are loaded now

_typed = ReadableTypes(_django)
_served = StatusInformation(_typed) if serves(Serve(settings.PKI_SERVE), STATUS_PATHS) else _typed
# The processes that people's pages come from reach the broker and the mail server, which the watch needs.
_watched = (
    MissedRunAlarm(_served) if settings.PKI_ALARM_EVERY_SECONDS and Serve(settings.PKI_SERVE) in {Serve.ALL, Serve.PORTAL} else _served
)
application = ChunkedBodies(_watched)
collect_seldom()
