"""A session that a test leaves open does not keep the test database from being dropped."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection

from tests.harness.plugin.databases import end_other_sessions


@pytest.mark.django_db
def test_other_sessions_are_ended_and_the_own_one_is_not() -> None:
    own = connection.settings_dict
    with psycopg.connect(host=own["HOST"], port=own["PORT"], user=own["USER"], password=own["PASSWORD"], dbname=own["NAME"]) as left_over:
        left_over.execute("SELECT 'left over'")
        assert "SELECT 'left over'" in end_other_sessions()
        with pytest.raises(psycopg.OperationalError):
            left_over.execute("SELECT 1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
