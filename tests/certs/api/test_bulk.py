"""Bulk orders over REST: judged, ordered once, watched, steered, taken home; and what is refused, to whom."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from audit.models import AuditEvent
from certs.bulk import dispatch
from certs.bulk.chunk import make_chunk
from certs.models import BulkChunk, BulkItem, BulkOrder, CertificateRequest, Team
from certs.uploads.sandbox.concurrency import turn
from tests.certs import steps
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.x509.csr.test_pasted_secrets import SECRETS
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
WORDS = "Issue certificates for api-1 through api-3, all P-256, 30 days"
MIXED = [{"name": "a.example.com", "key": "P-256"}, {"name": "b.other.test"}, {"name": "c"}]


@pytest.fixture
def api(portal: Portal, settings: Any) -> Api:
    settings.CELERY_TASK_ALWAYS_EAGER = False
    return Api(portal.token())


def work_off() -> None:
    """What the worker does, in this process."""
    dispatch.dispatch()
    for chunk in BulkChunk.objects.filter(state="queued"):
        steps.submit_to_ca(make_chunk(chunk.pk), complete=True)
        dispatch.end_chunk(chunk.pk)


def streamed(api: Api, path: str) -> tuple[Any, bytes]:
    response: Any = api.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {api.token}"})
    return response, b"".join(response.streaming_content)


def upload(api: Api, content: bytes, name: str = "wanted.csv", **fields: str) -> tuple[int, Any]:
    response = api.client.post(
        "/api/v1/bulk/upload", {"file": SimpleUploadedFile(name, content), **fields}, headers={"Authorization": f"Bearer {api.token}"}
    )
    return response.status_code, json.loads(response.content)


def test_words_are_ordered_watched_and_taken_home(api: Api) -> None:
    status, told = api.post("/bulk", {"text": WORDS})
    assert (status, told["state"], told["total"], told["counts"]["waiting"]) == (202, "running", 3, 3)
    work_off()
    status, told = api.get(f"/bulk/{told['bulk_id']}")
    assert (status, told["state"], told["issued"], told["failed"]) == (200, "done", 3, 0)
    response, content = streamed(api, f"/bulk/{told['bulk_id']}/certificates.zip")
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        leaf, *links = x509.load_pem_x509_certificates(archive.read("00003-api-3.example.com.pem"))
        (root,) = x509.load_pem_x509_certificates(archive.read("root.pem"))
    leaf.verify_directly_issued_by(links[0])
    links[-1].verify_directly_issued_by(root)
    assert root not in links
    rows = list(csv.DictReader(io.StringIO(streamed(api, f"/bulk/{told['bulk_id']}/inventory.csv")[1].decode())))
    assert [row["name"] for row in rows] == [f"api-{n}.example.com" for n in (1, 2, 3)]
    assert [row["serial_number"].replace(":", "") for row in rows][2].lstrip("0") == f"{leaf.serial_number:X}"
    assert AuditEvent.objects.filter(event="certificate:downloaded").count() == 2


def test_plan_only_keeps_nothing_and_uses_no_key_up(api: Api) -> None:
    status, told = api.post("/bulk", {"items": MIXED, "plan_only": True}, **{"Idempotency-Key": "order-1"})
    assert (status, told["success"], told["total"]) == (200, False, 3)
    assert told["outcomes"] == {"allow": 1, "needs_approval": 0, "deny": 1, "invalid": 1}
    assert [(one["source"], one["name"]) for one in told["problems"]] == [("item 2", "b.other.test"), ("item 3", "")]
    assert (BulkOrder.objects.count(), BulkItem.objects.count()) == (0, 0)
    assert api.post("/bulk", {"text": WORDS}, **{"Idempotency-Key": "order-1"})[0] == 202


def test_same_key_is_the_same_order_and_another_content_is_refused(api: Api) -> None:
    answers = [api.post("/bulk", {"text": WORDS}, **{"Idempotency-Key": "order-1"}) for _ in range(3)]
    assert {(status, told["bulk_id"]) for status, told in answers} == {(202, answers[0][1]["bulk_id"])}
    assert (BulkOrder.objects.count(), AuditEvent.objects.filter(event="bulk:submitted").count()) == (1, 1)
    status, told = api.post("/bulk", {"items": MIXED}, **{"Idempotency-Key": "order-1"})
    assert (status, told["field"], BulkOrder.objects.count()) == (409, "Idempotency-Key", 1)


def test_all_or_nothing_refuses_with_every_reason_and_may_be_sent_again(api: Api) -> None:
    status, told = api.post("/bulk", {"items": MIXED, "all_or_nothing": True}, **{"Idempotency-Key": "order-1"})
    assert (status, told["type"]) == (422, "urn:pki-portal:error:lines_refused")
    assert [one["line"] for one in told["problems"]] == [2, 3]
    assert BulkOrder.objects.count() == 0
    status, told = api.post("/bulk", {"items": MIXED, "only_allowed": True}, **{"Idempotency-Key": "order-1"})
    assert (status, told["total"], told["counts"]["left_out"]) == (202, 3, 2)


def test_refused_lines_fail_alone_on_record_by_default(api: Api) -> None:
    _, told = api.post("/bulk", {"items": MIXED})
    work_off()
    _, told = api.get(f"/bulk/{told['bulk_id']}")
    assert (told["state"], told["total"], told["issued"], told["failed"]) == ("done", 3, 1, 2)
    _, page = api.get(f"/bulk/{told['bulk_id']}/items?show=problems")
    assert [(one["source"], one["state"]) for one in page["items"]] == [("item 2", "refused"), ("item 3", "invalid")]
    rows = list(csv.DictReader(io.StringIO(streamed(api, f"/bulk/{told['bulk_id']}/problems.csv")[1].decode())))
    assert [(row["source"], row["state"]) for row in rows] == [("item 2", "refused"), ("item 3", "invalid")]
    assert all(row["reason"] for row in rows)


LIKE_A_FILE = (
    b"name,key\nok1.example.com,P-256\nnot a name!,P-256\nok2.evil.org,P-256\nok3.example.com,banana\n,P-256\nok4.example.com,P-256\n"
)


@pytest.mark.parametrize(
    ("wish", "failed", "counts"),
    [
        ({}, 4, {"issued": 2, "refused": 1, "invalid": 3, "left_out": 0}),
        ({"only_allowed": "true"}, 0, {"issued": 2, "refused": 0, "invalid": 0, "left_out": 4}),
    ],
)
def test_every_row_of_a_file_is_in_exactly_one_count(api: Api, wish: dict[str, str], failed: int, counts: dict[str, int]) -> None:
    """B1: the total is the rows of the file, at every channel, whatever could be read."""
    status, told = upload(api, LIKE_A_FILE, **wish)
    assert (status, told["total"]) == (202, 6)
    work_off()
    _, told = api.get(f"/bulk/{told['bulk_id']}")
    assert (told["state"], told["total"], told["issued"], told["failed"]) == ("done", 6, 2, failed)
    assert {name: told["counts"][name] for name in counts} == counts
    assert sum(told["counts"].values()) == told["total"]
    for path in ("items?show=all", "items?show=problems"):
        _, page = api.get(f"/bulk/{told['bulk_id']}/{path}")
        assert len(page["items"]) == (6 if "all" in path else 4)
    rows = list(csv.DictReader(io.StringIO(streamed(api, f"/bulk/{told['bulk_id']}/problems.csv")[1].decode())))
    assert [row["source"] for row in rows] == ["row 3", "row 4", "row 5", "row 6"]
    assert all(row["reason"] and row["state"] for row in rows)


def test_plan_only_shows_the_lines_as_they_would_be_issued(api: Api) -> None:
    """B4: names, defaults, notes and duplicates, over REST too."""
    _, told = upload(api, b"name,key\nd1.example.com,P-256\nD1.EXAMPLE.COM,P-256\nd1.example.com.,P-256\n", plan_only="true")
    assert (told["total"], told["duplicates"]) == (3, 2)
    assert [(line["common_name"], line["duplicate"]) for line in told["lines"]] == [
        ("d1.example.com", ""),
        ("d1.example.com", "same names as row 2"),
        ("d1.example.com", "same names as row 2"),
    ]
    assert told["lines"][0]["notes"] == ["Validity 90 days: the policy's default", "Profile tls-server: the policy's default"]


@pytest.mark.parametrize("sort", ["line", "-line", "name", "-name", "reason", "-reason"])
def test_items_in_pages_come_once_each_in_order(api: Api, sort: str) -> None:
    names = ["b.example.com", "a.example.com", "b.other.test", "c.example.com", "a.other.test"]
    _, told = api.post("/bulk", {"items": [{"name": name} for name in names]})
    work_off()
    seen, after = [], 0
    while True:
        status, page = api.get(f"/bulk/{told['bulk_id']}/items?sort={sort}&limit=2&after={after}")
        assert status == 200
        seen += page["items"]
        after = page["next_after"]
        if after is None:
            break
    keys = {"line": lambda one: one["line"], "name": lambda one: one["common_name"], "reason": lambda one: (one["reason"], one["line"])}
    wanted = sorted(seen, key=keys[sort.removeprefix("-")], reverse=sort.startswith("-"))
    assert (len(seen), [one["line"] for one in seen]) == (5, [one["line"] for one in wanted])


def test_order_is_paused_resumed_and_cancelled(api: Api) -> None:
    _, told = api.post("/bulk", {"text": WORDS})
    path = f"/bulk/{told['bulk_id']}"
    assert [api.post(f"{path}/{act}", {})[1].get("state") for act in ("pause", "resume", "cancel")] == ["paused", "running", "cancelled"]
    assert [api.post(f"{path}/{act}", {})[0] for act in ("pause", "resume", "cancel", "retry")] == [409] * 4


def test_items_with_csrs_keep_their_own_keys(api: Api) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    status, told = api.post(
        "/bulk", {"items": [{"csr": pem_csr("own.example.com", key=key)}, {"name": "x.example.com", "csr": pem_csr("y.example.com")}]}
    )
    assert status == 202
    work_off()
    _, page = api.get(f"/bulk/{told['bulk_id']}/items")
    assert [(one["common_name"], one["state"]) for one in page["items"]] == [("own.example.com", "issued"), ("", "invalid")]
    assert "csr" not in json.dumps(page["items"][0]["sans"])


def test_upload_is_ordered_and_strange_fields_are_refused(api: Api) -> None:
    table = b"name,key\na.example.com,P-256\nb.example.com,P-256\n"
    status, told = upload(api, table, plan_only="true")
    assert (status, told["outcomes"]["allow"], BulkOrder.objects.count()) == (200, 2, 0)
    status, told = upload(api, table)
    assert (status, told["total"], told["title"]) == (202, 2, "wanted.csv")
    assert upload(api, table, owner="other")[0] == 422
    assert upload(api, b"%PDF-1.4")[0] == 422
    assert upload(api, b"name\n" + SECRETS["pkcs8"][0])[0] == 422
    assert BulkOrder.objects.count() == 1
    assert AuditEvent.objects.filter(event="secret:refused").count() == 1


@pytest.mark.parametrize("options", [{}, {"plan_only": "true"}, {"only_allowed": "true"}])
def test_file_with_a_bare_label_is_refused_with_its_line_and_what_would_pass(api: Api, options: dict[str, str]) -> None:
    """Nobody sees the completed name before it is ordered; the portal shows it and completes."""
    status, told = upload(api, b"name,sans\na.example.com,\nb.example.com,api\nwww,\n", **options)
    assert (status, told["status"], told["field"]) == (400, 400, "file")
    assert told["detail"].startswith("row 3: 'api' is no full domain name. Nothing was ordered.")
    assert "for example api.example.com" in str(told)
    assert not BulkOrder.objects.exists()


def test_token_orders_for_its_own_team_only(api: Api, portal: Portal) -> None:
    Team.objects.create(slug="second", name="Second", default_domain="second.test").members.add(portal.alice)
    _, told = upload(api, b"name,owner\na.example.com,second\nb.example.com,web\n", plan_only="true")
    assert [(one["line"], "acts for team web only" in one["error"]) for one in told["problems"]] == [(1, True)]


def test_outsider_and_reader_may_not(api: Api, portal: Portal) -> None:
    _, told = api.post("/bulk", {"text": WORDS})
    outsider = Api(portal.token(user=portal.bob, team=portal.bob.teams.get()))
    reader = Api(portal.token("certificates:read"))
    path = f"/bulk/{told['bulk_id']}"
    for tail in ("", "/items", "/certificates.zip", "/inventory.csv", "/problems.csv"):
        assert (tail, outsider.get(path + tail)[0]) == (tail, 404)
    for act in ("pause", "resume", "cancel", "retry"):
        assert (outsider.post(f"{path}/{act}", {})[0], reader.post(f"{path}/{act}", {})[0]) == (404, 403)
    assert reader.post("/bulk", {"text": WORDS})[0] == 403
    assert reader.get(path)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        {"text": ""},
        {"text": WORDS, "items": [{"name": "a.example.com"}]},
        {"text": "Renew cert-5678"},
        {"text": "Make me a sandwich"},
        {"items": [{"name": 1}]},
        {"items": [{"name": "a.example.com", "owner": "other"}]},
        {"items": [{"name": "a.example.com", "validity_days": -1}]},
        {"items": [{}]},
        {"items": [{"name": "a b"}]},
        {"items": [{"name": "\x00"}]},
        {"text": WORDS, "plan_only": "perhaps"},
        {"items": [{"csr": SECRETS["pkcs8"][0].decode()}]},
        {"items": [{"name": "a.example.com", "sans": [SECRETS["pkcs8"][0].decode()]}]},
    ],
    ids=range(16),
)
def test_nonsense_gets_a_problem_document(api: Api, body: Any) -> None:
    status, told = api.post("/bulk", body)
    assert 400 <= status < 500
    assert {"type", "title", "status", "detail"} <= told.keys()
    assert (BulkOrder.objects.count(), CertificateRequest.objects.count()) == (0, 0)
    assert SECRETS["pkcs8"][0].decode().splitlines()[1] not in json.dumps(told)


@pytest.mark.parametrize("query", ["show=nope", "sort=nope", "after=-1", "after=²", "limit=0", "limit=1000000"])
def test_nonsense_in_a_query_is_refused(api: Api, query: str) -> None:
    _, told = api.post("/bulk", {"text": WORDS})
    assert api.get(f"/bulk/{told['bulk_id']}/items?{query}")[0] == 422


def test_more_items_than_the_limit_are_refused_before_they_are_read(api: Api, settings: Any) -> None:
    settings.PKI_BULK_MAX_LINES = 2
    status, told = api.post("/bulk", {"items": [{"name": f"a{n}.example.com"} for n in range(3)]})
    assert (status, told["field"], "more than 2" in told["detail"]) == (422, "items", True)


def test_cells_that_begin_like_a_formula_are_harmless(api: Api) -> None:
    _, told = api.post("/bulk", {"items": [{"name": "a.example.com"}]})
    BulkItem.objects.update(source="=cmd|' /C calc'!A0")
    work_off()
    rows = list(csv.DictReader(io.StringIO(streamed(api, f"/bulk/{told['bulk_id']}/inventory.csv")[1].decode())))
    assert rows[0]["source"] == "'=cmd|' /C calc'!A0"


@pytest.mark.parametrize("name", ["*.com", "com", "*.api", "api.", "*.com."])
def test_no_domain_is_added_to_a_name_over_rest(api: Api, name: str) -> None:
    """S22: `*.com` became `*.com.` and the default domain."""
    for item in ({"name": name}, {"name": "a.example.com", "sans": [name]}):
        status, told = api.post("/bulk", {"items": [item], "plan_only": True})
        assert (status, told["outcomes"]["invalid"]) == (200, 1), told
        assert "full domain name" in str(told["problems"][0])


def test_title_that_holds_a_token_is_refused(api: Api) -> None:
    """Finding S17."""
    title = "hvs.CAESIJ1111111111111111111111"
    status, told = api.post("/bulk", {"items": MIXED[:1], "title": title})
    assert (status, told["field"], BulkOrder.objects.count()) == (422, "title", 0)


def test_no_more_uploads_are_read_at_once_than_set_and_pages_go_on(api: Api, portal: Portal, settings: Any) -> None:
    settings.PKI_BULK_READS_AT_ONCE = 1
    signed_in = Client()
    signed_in.force_login(portal.alice)
    with turn(most=1):  # somebody else's upload, which takes its time
        response = api.client.post(
            "/api/v1/bulk/upload",
            {"file": SimpleUploadedFile("wanted.csv", b"name\na.example.com\n")},
            headers={"Authorization": f"Bearer {api.token}"},
        )
        told = json.loads(response.content)
        assert (response.status_code, response["Retry-After"], told["title"]) == (503, "10", "busy")
        assert "again in 10 seconds" in told["next_step"]
        page = signed_in.post("/bulk/new/", {"via": "file", "file": SimpleUploadedFile("wanted.csv", b"name\na.example.com\n")})
        assert (page.status_code, page["Retry-After"]) == (503, "10")
        assert "Nothing of yours was read" in page.content.decode()
        assert signed_in.get("/").status_code == 200
    for content, status in ((b"%PDF", 422), (b"name\na.example.com\n", 202)):  # a refused one gives its turn back
        assert upload(api, content)[0] == status
