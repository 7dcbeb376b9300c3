#!/usr/bin/env python
"""Django's command line. Without DJANGO_SETTINGS_MODULE it runs the embedded default (data under var/ or PKI_HOME)."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - as above
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - settings module must be named first

    from pkiportal.processes.console import be_robust  # noqa: PLC0415 - as above

    be_robust()
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # it names the setting; a traceback would only hide that
        sys.exit(f"These settings cannot be used. {error}")
    except Exception as error:
        from pkiportal.processes.outages import report_outage  # noqa: PLC0415 - as above

        if not report_outage(error, as_json="--json" in sys.argv):
            raise
        sys.exit(1)


if __name__ == "__main__":
    main()
