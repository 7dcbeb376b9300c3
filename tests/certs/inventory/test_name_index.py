"""Parts of names among many: found by the index, whatever is typed; without the index found too, and the operator is told."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certs.inventory.name_index import NAME_PART, make_after_migrate
from certs.inventory.search import by_name, name_sought
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.trigrams import EXTENSION, IndexState, state_of_index
from tests.certs.life import issued

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no trigrams"),
]
MANY = 30_000
MOST = 10_001  # that a search reads before it leaves the rest to the database


def execute(statement: str) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def names(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Iterator[set[str]]:
    """The names of one certificate, as many as an inventory has."""
    certificate = issued(make_spec("a.zz.example.com"), twin_portal)
    execute(
        "INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels) "
        f"SELECT {certificate.pk}, 'dns', 'host-' || n || '.t' || n % 200 || '.example.com', '' FROM generate_series(1, {MANY}) AS n"
    )
    for name in ("*.shop.example.com", "www.xn--bcher-kva.example", "10.0.0.7", "2001:db8::1", "a_b.example.com"):
        execute(
            "INSERT INTO certs_certificatename (certificate_id, kind, name, reversed_labels) "
            f"VALUES ({certificate.pk}, 'dns', '{name}', '')"
        )
    execute("ANALYZE certs_certificatename")
    yield {name for (name,) in execute("SELECT name FROM certs_certificatename")}
    execute("TRUNCATE certs_certificatename")  # the planner would go on expecting as many in the tests that follow


def search(text: str) -> tuple[set[str], str]:
    """Return the names that a search for a part of a name reads, and how PostgreSQL finds them."""
    with CaptureQueriesContext(connection) as queries:
        by_name(text)
    sql = queries.captured_queries[-1]["sql"]
    plan = "\n".join(line for (line,) in execute(f"EXPLAIN {sql}"))
    return {name for _, name in execute(sql)}, plan


def test_what_few_names_have_is_found_by_the_index_and_the_rest_by_reading(names: set[str]) -> None:
    """The planner is left as it is: for a text of which every trigram is common, PostgreSQL alone would choose the index."""
    in_index = ["host-7777.t177.example.com", "HOST-7777", "7777", "t177.", "zz.exam", "BÜCHER", "0.0.7", "db8::", "a_b", "nothing-has-it"]
    in_rows = ["example", "com.example", "7", "q", "%", "%%%", "_", "a_e", "-", "\\"]
    for text in [*in_index, *in_rows]:
        found, plan = search(text)
        expected = {name for name in names if name_sought(text) in name}
        assert found == expected if len(expected) <= MOST else len(found) == MOST, text
        assert (NAME_PART.name in plan) == (text in in_index), (text, plan)
    assert search("com.example")[0] == set()


def test_a_wildcard_is_looked_up_as_the_beginning_of_a_name(names: set[str]) -> None:
    for text, expected in (("*.shop.example.com", {"*.shop.example.com"}), ("*.example.com", set()), ("*", {"*.shop.example.com"})):
        found, plan = search(text)
        assert (found, bool(re.search(r"\bcertificate_name\b", plan))) == (expected, True), plan


def test_names_of_given_certificates_are_read_without_the_index(names: set[str]) -> None:
    """Who sees one team: the index of all names would be read for a few thousand rows."""
    (pk,) = Certificate.objects.values_list("pk", flat=True)
    with CaptureQueriesContext(connection) as queries:
        assert by_name("host-7777", ids=[pk]).inside == (pk,)
    assert NAME_PART.name not in "\n".join(line for (line,) in execute(f"EXPLAIN {queries.captured_queries[-1]['sql']}"))


@pytest.fixture
def without_index() -> Iterator[None]:
    """As where the login may not create the extension."""
    execute(f"DROP EXTENSION IF EXISTS {EXTENSION} CASCADE")
    yield
    execute("RESET ROLE")
    call_command("search_index", stdout=io.StringIO())
    assert state_of_index(NAME_PART, connection) is IndexState.READY


@pytest.fixture
def login(without_index: None) -> Iterator[str]:
    """A login without the right, as which the connection goes on."""
    name = f"plain_{connection.settings_dict['NAME']}"
    execute(f'CREATE ROLE "{name}" IN ROLE pg_read_all_data')
    execute(f'SET ROLE "{name}"')
    yield name
    execute("RESET ROLE")
    execute(f'DROP ROLE "{name}"')


def warnings() -> list[str]:
    return [f"{one.msg} {one.hint}" for one in run_checks(tags=[Tags.database], databases=["default"]) if one.id == "certs.W002"]


def test_migrate_goes_on_without_the_right_and_says_what_an_administrator_runs(login: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_after_migrate(using="default")
    (said,) = caplog.messages
    for part in (
        f"'{login}' may not create",
        "Everything works without",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "manage.py search_index",
    ):
        assert part in said
    told = io.StringIO()
    with pytest.raises(SystemExit) as refused:
        call_command("search_index", "--json", stdout=told)
    answer = json.loads(told.getvalue())
    assert (refused.value.code, answer["success"], "CREATE EXTENSION" in answer["next_step"]) == (1, False, True)


def test_without_the_index_names_are_found_and_the_check_says_so(names: set[str], without_index: None) -> None:
    found, _ = search("host-7777")
    assert found == {"host-7777.t177.example.com"}
    (warning,) = warnings()
    assert ("no index of parts of names" in warning, "manage.py search_index" in warning) == (True, True)
    told = io.StringIO()
    call_command("search_index", stdout=told)
    assert (told.getvalue().startswith("The index was made."), warnings()) == (True, [])
    assert NAME_PART.name in search("host-7777")[1]
    again = io.StringIO()
    call_command("search_index", "--json", stdout=again)
    assert json.loads(again.getvalue()) == {"success": True, "index": NAME_PART.name, "state": "ready", "made": False}


def test_migrate_makes_the_index_that_is_missing_or_was_left_unfinished(without_index: None) -> None:
    call_command("migrate", verbosity=0, interactive=False)
    assert state_of_index(NAME_PART, connection) is IndexState.READY
    execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{NAME_PART.name}'::regclass")
    (warning,) = warnings()
    assert "it is unfinished" in warning
    call_command("migrate", verbosity=0, interactive=False)
    assert (state_of_index(NAME_PART, connection), warnings()) == (IndexState.READY, [])
