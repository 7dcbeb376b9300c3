#!/usr/bin/env python
"""Django's command line. Without DJANGO_SETTINGS_MODULE it runs the embedded default (data under var/ or PKI_HOME)."""

import contextlib
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")
    from pkiportal.processes.console import be_robust, end_interrupted, ends_as_json  # noqa: PLC0415 - settings module must be named first

    be_robust()
    as_json = "--json" in sys.argv
    try:
        with ends_as_json() if as_json else contextlib.nullcontext():
            _run(as_json=as_json)
    except KeyboardInterrupt:
        end_interrupted(as_json=as_json)


def _run(*, as_json: bool) -> None:
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - as above
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - as above

    from pkiportal.processes.console import OutputLost, print_failure, report_lost_output  # noqa: PLC0415 - as above

    try:
        try:
            execute_from_command_line(sys.argv)
        finally:
            sys.stdout.flush()  # an answer that cannot be written is no success
    except ImproperlyConfigured as error:  # it names the setting; a traceback would only hide that
        print_failure(f"These settings cannot be used. {error}", "", as_json=as_json)
        sys.exit(1)
    except OutputLost as lost:
        report_lost_output(lost)
        sys.exit(1)
    except UnicodeEncodeError as error:
        if not any(_is_no_text(argument) for argument in sys.argv):
            raise
        sys.stderr.write(f"An argument is no text in {sys.getfilesystemencoding()}: {error.object!r}. Write it in UTF-8.\n")
        sys.exit(2)
    except Exception as error:
        from pkiportal.processes.outages import report_outage  # noqa: PLC0415 - as above

        if not report_outage(error, as_json=as_json):
            raise
        sys.exit(1)


def _is_no_text(argument: str) -> bool:
    """Return whether octets of it could not be decoded; Python keeps them as surrogates (PEP 383)."""
    return any("\udc80" <= sign <= "\udcff" for sign in argument)


if __name__ == "__main__":
    main()
