import logging
import os

from django.apps import AppConfig
from django.conf import settings

log = logging.getLogger(__name__)


class PkiportalConfig(AppConfig):
    name = "pkiportal"

    def ready(self) -> None:
        """Log once in each process, whether it is a command, a web process, a worker or beat."""
        from pkiportal.start_notes import doubtful, open_files, unread  # noqa: PLC0415 - settings and logging are set up now

        for line in (*unread(os.environ), *doubtful(settings), *open_files(os.environ, settings)):
            log.warning("%s", line)
