"""A line of a draft corrected on the page, the columns of an own table, and files that say what is not in them."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from audit.log import Actor
from certs.access.permissions import Authority
from certs.bulk.drafting.correct import cells_of, correct_line
from certs.bulk.drafting.draft import draft
from certs.bulk.drafting.upload import read_lines
from certs.bulk.export import file_of
from certs.bulk.submit import submit_order
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted
from certs.models import BulkOrder
from tests.certs.api.test_issue import pem_csr
from tests.certs.life import PORTAL
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
TABLE = (
    b"name,sans,key,validity_days\n"
    b"a.example.com,,P-256,30\n"
    b"b.exmaple.com,,P-256,30\n"
    b"c.example.com,www.c.example.com,banana,30\n"
    b"a.example.org,,P-256,30\n"
)


def order_of(portal: Portal, table: bytes = TABLE) -> BulkOrder:
    return draft(read_lines(table, filename="w.csv", requester=portal.requester()), requester=portal.requester(), title="w.csv")


def by(user: Any) -> Authority:
    return Authority(Actor("user", user.username), user)


def test_typo_in_a_name_is_corrected_and_the_line_is_judged_again(portal: Portal) -> None:
    order = order_of(portal)
    before = order.items.get(number=2)
    assert (before.outcome, cells_of(before)["name"]) == ("deny", "b.exmaple.com")
    after = correct_line(order, 2, cells_of(before) | {"name": "b.example.com"}, authority=by(portal.alice))
    after.refresh_from_db()
    assert (after.outcome, after.common_name, after.reason, after.source) == ("allow", "b.example.com", "", before.source)
    assert "Corrected by a person after the upload." in after.notes


def test_line_that_could_not_be_read_shows_what_was_sent(portal: Portal) -> None:
    order = order_of(portal)
    cells = cells_of(order.items.get(number=3))
    assert cells == {"name": "c.example.com", "sans": "www.c.example.com", "key": "banana", "validity_days": "30", "profile": ""}
    with pytest.raises(InputRefused, match="banana") as refused:
        correct_line(order, 3, cells, authority=PORTAL)
    assert refused.value.field == "key"
    after = correct_line(order, 3, cells | {"key": "P-256"}, authority=PORTAL)
    assert (after.outcome, after.spec["dns_names"]) == ("allow", ["c.example.com", "www.c.example.com"])  # type: ignore[index]


def test_corrected_line_that_repeats_another_is_pointed_out(portal: Portal) -> None:
    order = order_of(portal)
    item = correct_line(order, 4, {"name": "a.example.com", "key": "P-256"}, authority=PORTAL)
    assert (item.outcome, item.duplicate) == ("allow", "same names as row 2")


def test_line_with_a_csr_keeps_its_key_and_names(portal: Portal) -> None:
    csr = pem_csr("own.example.com")
    order = order_of(portal, f'csr,validity_days\n"{csr}",9999\n'.encode())
    item = order.items.get()
    assert item.outcome == "deny"
    after = correct_line(order, 1, {"name": "other.example.com", "validity_days": "30"}, authority=PORTAL)
    assert (after.outcome, after.common_name, bytes(after.spki_der)) == ("allow", "own.example.com", bytes(item.spki_der))


def test_who_may_not_and_what_cannot_be(portal: Portal) -> None:
    order = order_of(portal)
    with pytest.raises(NotFound):
        correct_line(order, 2, {"name": "b.example.com"}, authority=by(portal.bob))
    with pytest.raises(NotFound):
        correct_line(order, 99, {"name": "b.example.com"}, authority=PORTAL)
    with pytest.raises(CSRRefused):
        correct_line(order, 2, {"name": "token hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz"}, authority=PORTAL)
    portal.bob.groups.add(*_group("auditor"))
    with pytest.raises(NotPermitted):
        correct_line(order, 2, {"name": "b.example.com"}, authority=by(portal.bob))
    submit_order(order, authority=PORTAL)
    with pytest.raises(Conflict):
        correct_line(order, 2, {"name": "b.example.com"}, authority=PORTAL)


def _group(name: str) -> Any:
    from django.contrib.auth.models import Group  # noqa: PLC0415 - in one test only

    return Group.objects.filter(name=name)


def browser(portal: Portal) -> Client:
    client = Client()
    client.force_login(portal.alice)
    return client


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


def test_page_of_a_line_corrects_it_and_keeps_what_was_typed(portal: Portal) -> None:
    order, alice = order_of(portal), browser(portal)
    path = f"/bulk/{order.public_id}/lines/2/"
    assert f'href="{path}">Correct' in text_of(alice.get(f"/bulk/{order.public_id}/"))
    assert 'value="b.exmaple.com"' in text_of(alice.get(path))
    wrong = alice.post(path, {"name": "b example", "key": "P-256"})
    assert (wrong.status_code, 'value="b example"' in text_of(wrong)) == (422, True)
    assert alice.post(path, {"name": "b.example.com", "key": "P-256"})["Location"] == f"/bulk/{order.public_id}/"
    assert order.items.get(number=2).outcome == "allow"


def test_apply_all_is_offered_only_where_a_suggestion_can_be_applied(portal: Portal) -> None:
    """B28"""
    alice = browser(portal)
    names_only = order_of(portal, b"name,key\nb.exmaple.com,P-256\n")
    assert "Apply all suggestions" not in text_of(alice.get(f"/bulk/{names_only.public_id}/"))
    short_key = order_of(portal, b"name,key\nb.example.com,RSA 2048\n")
    assert "Apply all suggestions" in text_of(alice.get(f"/bulk/{short_key.public_id}/"))


# --- columns of an own table ---


def send(portal: Portal, table: bytes, **more: str) -> Any:
    given = {"via": "file", "keys": "store", "team": "web", "file": SimpleUploadedFile("own.csv", table)}
    return browser(portal).post("/bulk/new/", given | more)


def test_person_is_asked_what_unknown_columns_mean(portal: Portal) -> None:
    table = b"Server;Ansprechpartner;Schluessel\na.example.com;Ann;P-256\nb.example.com;Bea;P-256\n"
    asked = send(portal, table)
    text = text_of(asked)
    assert (asked.status_code, BulkOrder.objects.count()) == (422, 0)
    assert all(f'value="{title}"' in text for title in ("Server", "Ansprechpartner", "Schluessel"))
    assert text.count('<option value="name" selected>') == 1  # the column that holds host names
    titles = {"title-0": "Server", "title-1": "Ansprechpartner", "title-2": "Schluessel"}
    done = send(portal, table, **titles, **{"column-0": "name", "column-1": "-", "column-2": "key"})
    assert done.status_code == 302
    assert [(item.common_name, item.spec["key"]) for item in BulkOrder.objects.get().items.order_by("number")] == [  # type: ignore[index]
        ("a.example.com", "ec-p256"),
        ("b.example.com", "ec-p256"),
    ]


def test_known_titles_are_chosen_already_and_unknown_ones_are_left_out(portal: Portal) -> None:
    text = text_of(send(portal, b"Hostname,Contact\na.example.com,Ann\n"))
    assert '<option value="name" selected>' in text
    assert '<option value="-" selected>' in text
    mapped = {"title-0": "Hostname", "column-0": "name", "title-1": "Contact", "column-1": "-"}
    assert send(portal, b"Hostname,Contact\na.example.com,Ann\n", **mapped).status_code == 302


def test_mapping_of_another_table_does_not_apply(portal: Portal) -> None:
    mapped = {"title-0": "Server", "column-0": "name", "title-1": "Contact", "column-1": "-"}
    assert send(portal, b"Machine,Contact\na.example.com,Ann\n", **mapped).status_code == 422


@pytest.mark.parametrize("columns", [{"column-0": "-", "column-1": "-"}, {"column-0": "name", "column-1": "name"}], ids=["none", "twice"])
def test_mapping_without_one_name_column_is_asked_again(portal: Portal, columns: dict[str, str]) -> None:
    asked = send(portal, b"Server,Contact\na.example.com,Ann\n", **{"title-0": "Server", "title-1": "Contact"}, **columns)
    assert (asked.status_code, "What do the columns of your table mean?" in text_of(asked)) == (422, True)


def test_question_comes_into_the_form_that_has_the_file(portal: Portal) -> None:
    client = browser(portal)
    given = {"via": "file", "keys": "store", "team": "web", "file": SimpleUploadedFile("own.csv", b"Server,Contact\na.example.com,Ann\n")}
    asked = client.post("/bulk/new/", given, headers={"HX-Request": "true"})
    assert (asked.status_code, "<html" in asked.content.decode(), "Choose the file again" in text_of(asked)) == (200, False, False)
    given["file"] = SimpleUploadedFile("own.csv", b"Hostname\na.example.com\n")
    done = client.post("/bulk/new/", given, headers={"HX-Request": "true"})
    assert done["HX-Redirect"] == f"/bulk/{BulkOrder.objects.get().public_id}/"


def test_workbook_columns_are_asked_for_too(portal: Portal) -> None:
    import openpyxl  # noqa: PLC0415 - a quarter of a second that only this test needs

    book = openpyxl.Workbook()
    for row in (("Maschine", "Ansprechpartner"), ("a.example.com", "Ann")):
        book.worksheets[0].append(row)
    content = io.BytesIO()
    book.save(content)
    assert "Maschine" in text_of(send(portal, content.getvalue()))
    mapped = {"title-0": "Maschine", "column-0": "name", "title-1": "Ansprechpartner", "column-1": "-"}
    assert send(portal, content.getvalue(), **mapped).status_code == 302


# --- where the keys will be, and what the files hold ---


def test_first_question_is_where_the_keys_will_be(portal: Portal) -> None:
    text = text_of(browser(portal).get("/bulk/new/"))
    assert "Where will the private keys be?" in text
    assert '<form method="post" action="/bulk/new/"' not in text


def test_row_without_csr_is_no_line_where_the_keys_are_on_own_servers(portal: Portal) -> None:
    assert send(portal, f'name,csr\na.example.com,\n,"{pem_csr("own.example.com")}"\n'.encode(), keys="own").status_code == 302
    first, second = BulkOrder.objects.get().items.order_by("number")
    assert (first.outcome, "no CSR" in first.reason, second.outcome) == ("invalid", True, "allow")


def test_zip_says_what_is_not_in_it_and_left_out_lines_are_in_the_problems_file(portal: Portal) -> None:
    """B28"""
    order = submit_order(order_of(portal), authority=PORTAL)
    content = b"".join(file_of(order, "certificates.zip", authority=PORTAL).parts)  # type: ignore[arg-type]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        readme = archive.read("README.txt").decode()
    assert "No private key is in this file." in readme
    problems = "".join(file_of(order, "problems.csv", authority=PORTAL).parts)  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(problems)))
    assert [(row["source"], row["state"]) for row in rows] == [("row 3", "left_out"), ("row 4", "left_out"), ("row 5", "left_out")]
