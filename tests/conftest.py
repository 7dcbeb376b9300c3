"""For every test: sockets closed, append-only tables that can be emptied, the real parts as fixtures."""

from __future__ import annotations

import os

from django.conf import settings

pytest_plugins = [
    "tests.harness.plugin.parts",
    "tests.harness.plugin.databases",
    "tests.harness.plugin.marked",
    "tests.harness.plugin.order",
    "tests.cast",
    "tests.twins.fixtures",
    "tests.portal.fixtures",
]


def pytest_configure() -> None:
    from tests.harness.plugin.emptying import empty_quickly  # noqa: PLC0415 - imports Django models' machinery: settings first
    from tests.harness.plugin.sessions import keep_sessions  # noqa: PLC0415
    from tests.harness.plugin.sockets import close_outgoing_sockets  # noqa: PLC0415

    empty_quickly()
    keep_sessions()
    close_outgoing_sockets()


def pytest_report_header() -> str:
    parts = ("PKI_TEST_VAULT_ADDR", "PKI_TEST_REDIS_URL", "PKI_TEST_SOFTHSM_MODULE", "PKI_TEST_CHROMIUM")
    absent = [name for name in parts if not os.environ.get(name)]
    return f"database: {str(settings.DATABASES['default']['ENGINE']).rpartition('.')[2]}; not set: {', '.join(absent) or 'nothing'}"
