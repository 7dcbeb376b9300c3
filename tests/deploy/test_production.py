"""Every command of the shipped compose file does its work with the shipped settings, behind the shipped proxy (M1, M2, S4, S21)."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from kombu import Connection, Queue
from prometheus_client.parser import text_string_to_metric_families

from certs.x509.csr.build import build_csr
from tests.deploy.compose import HOST
from tests.deploy.production import WEB, Production, production
from tests.harness.plugin.parts import needed

PASSWORD = "correct horse battery"
ACCOUNT = f"""
from django.contrib.auth import get_user_model
from audit.log import Actor
from certs.models import Team
from certs.access.api_tokens import SCOPES, create_token
user = get_user_model().objects.create_user("alice", "alice@example.com", "{PASSWORD}")
team = Team.objects.get(slug="platform")
team.members.add(user)
print(create_token(user=user, team=team, name="test", scopes=SCOPES, actor=Actor("system", "test"))[1])
"""


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    database, program = needed("PKI_TEST_DATABASE_URL"), Path(needed("PKI_TEST_VAULT_PROGRAM"))
    with production(tmp_path_factory.mktemp("production"), database_url=database, vault_program=program) as running:
        yield running


@pytest.fixture(scope="module")
def token(portal: Production) -> str:
    return portal.script("web", ACCOUNT)


Answer = tuple[int, http.client.HTTPMessage, bytes]


def ask(
    portal: Production,
    method: str,
    path: str,
    body: Any = None,
    *,
    tls: bool = True,
    host: str = HOST,
    chunked: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request to the proxy."""
    context = ssl.create_default_context(cafile=str(portal.folder / "proxy" / "tls_certificate"))
    context.check_hostname = False
    connection = (
        http.client.HTTPSConnection("127.0.0.1", portal.tls, timeout=30, context=context)
        if tls
        else http.client.HTTPConnection("127.0.0.1", portal.plain, timeout=30)
    )
    try:
        connection.request(method, path, body, {"Host": host, **(headers or {})}, encode_chunked=chunked)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def direct(portal: Production, service: str, path: str, **headers: str) -> tuple[int, bytes]:
    """One request to a service itself, by plain HTTP under its own name, as monitoring sends it beside the containers."""
    connection = http.client.HTTPConnection("127.0.0.1", portal.ports[service], timeout=30)
    try:
        connection.request("GET", path, headers={"Host": f"{service}:8000", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def pem_csr(name: str) -> str:
    der = build_csr(ec.generate_private_key(ec.SECP256R1()), common_name=name, dns_names=(name,), ip_addresses=())
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def api(portal: Production, token: str, method: str, path: str, body: Any = None, *, chunked: bool = False) -> tuple[int, Any]:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    pieces = iter([data[:100], data[100:]]) if chunked and data else data
    status, _, content = ask(portal, method, f"/api/v1{path}", pieces, chunked=chunked, headers=headers)
    return status, json.loads(content)


@pytest.fixture(scope="module")
def issued(portal: Production, token: str) -> dict[str, Any]:
    """A certificate that `ca-api` signed while its caller waited."""
    body = {"csr": pem_csr("a.example.com"), "validity_days": 30, "profile": "tls-server"}
    status, document = api(portal, token, "POST", "/certificates/issue", body)
    assert status == 200, document
    return dict(document)


def test_health_checks_succeed_as_they_are_written(portal: Production) -> None:
    """M1"""
    checked = {name for name, config in portal.services.items() if "healthcheck" in config}
    assert checked >= {"db", "redis", *WEB, "worker", "worker-mail", "worker-ca", "worker-keys", "worker-audit", "worker-destroy", "beat"}
    assert {name for name in checked if not portal.healthy(name)} == set()


def test_health_checks_fail_where_nothing_answers(portal: Production) -> None:
    """A check that cannot fail shows nothing."""
    own = Production(portal.folder, portal.vault, ports={**portal.ports, "web": 1, "redis": 1, "db": 1})
    assert not any(own.healthy(name) for name in ("web", "redis", "db"))


def test_every_process_is_ready_and_says_so_by_part(portal: Production) -> None:
    """M5, F10: asked from inside; the proxy tells strangers nothing."""
    for service in WEB:
        status, content = direct(portal, service, "/readyz")
        document = json.loads(content)
        assert (status, document["failed"]) == (200, {}), service
    assert ask(portal, "GET", "/readyz")[0] == ask(portal, "GET", "/metrics")[0] == 404
    assert ask(portal, "GET", "/healthz")[0] == 200


def test_metrics_are_scraped_from_inside_with_the_token(portal: Production) -> None:
    """M2"""
    secret = (portal.folder / "secrets" / "metrics_token").read_text().strip()
    assert direct(portal, "web", "/metrics")[0] == 404
    status, text = direct(portal, "web", "/metrics", Authorization=f"Bearer {secret}")
    series = {family.name for family in text_string_to_metric_families(text.decode())}
    assert status == 200
    assert {"pki_requests_held", "pki_ca_stopped", "pki_mails_unsent"} <= series


def test_page_of_signing_in_has_its_styles(portal: Production) -> None:
    status, headers, page = ask(portal, "GET", "/login/")
    assert (status, "max-age=31536000" in headers["Strict-Transport-Security"]) == (200, True)
    (style,) = re.findall(rb'href="(/static/[^"]+\.css)"', page)[:1]
    assert ask(portal, "GET", style.decode())[0] == 200


def test_plain_http_redirects_to_the_portal_only(portal: Production) -> None:
    """S21"""
    status, headers, _ = ask(portal, "GET", "/requests/?a=b", tls=False)
    assert (status, headers["Location"]) == (308, f"https://{HOST}/requests/?a=b")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(portal, "GET", "/", tls=False, host="evil.example")
    assert ask(portal, "GET", "/login/", host="evil.example")[0] == 421


@pytest.mark.parametrize("path", ["/", "/login/", "/admin/", "/admin/login/", "/api/v1/docs", "/static/admin/css/base.css", "/requests/"])
def test_services_with_a_login_to_the_keys_serve_only_their_own_paths(portal: Production, path: str) -> None:
    """S4: asked without the proxy, under the right host, as somebody would who broke into it."""
    for service in ("ca-api", "status"):
        assert direct(portal, service, path, Host=HOST, **{"X-Forwarded-Proto": "https"})[0] == 404
    assert direct(portal, "ca-api", "/pki/crl/x.crl")[1].startswith(b"This address")


def test_certificate_is_issued_by_the_ca_service_from_a_chunked_upload(portal: Production, token: str, issued: dict[str, Any]) -> None:
    assert x509.load_pem_x509_certificate(issued["certificate"].encode()).issuer
    body = {"csr": pem_csr("b.example.com"), "validity_days": 30, "profile": "tls-server"}
    status, document = api(portal, token, "POST", "/certificates/issue", body, chunked=True)
    assert (status, "certificate" in document) == (200, True)


def test_request_in_words_passes_through_all_workers(portal: Production, token: str) -> None:
    """The chain over the queues of policy, keys, CA and inventory, each in its own process with its own login."""
    sentence = "Issue TLS certificate for c.example.com with ECDSA P-256, 30-day validity"
    status, document = api(portal, token, "POST", "/requests/words", {"text": sentence})
    assert status == 202, document
    (public_id,) = re.findall(r"req-[0-9a-z-]+", json.dumps(document))[:1]

    def completed() -> bool:
        return bool(api(portal, token, "GET", f"/requests/{public_id}")[1].get("certificate"))

    assert within(60, completed), api(portal, token, "GET", f"/requests/{public_id}")


def test_beat_and_the_sealer_work(portal: Production, issued: dict[str, Any]) -> None:
    secret = (portal.folder / "secrets" / "metrics_token").read_text().strip()

    def oldest() -> float:
        text = direct(portal, "web", "/metrics", Authorization=f"Bearer {secret}")[1].decode()
        return float(re.findall(r"^pki_audit_oldest_unsealed_seconds (\S+)$", text, re.MULTILINE)[0])

    assert within(60, lambda: oldest() == 0)


def test_crl_and_ocsp_are_served_by_plain_http_under_any_name(portal: Production, issued: dict[str, Any]) -> None:
    certificate, authority = (x509.load_pem_x509_certificate(pem.encode()) for pem in (issued["certificate"], issued["chain"][0]))
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    crl_path = str(points[0].full_name[0].value).removeprefix(f"http://{HOST}")
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, authority, hashes.SHA256())
    question = builder.build().public_bytes(Encoding.DER)
    information = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    urls = [str(one.access_location.value).removeprefix(f"http://{HOST}") for one in information]
    (ocsp_path,) = [url for url in urls if "/ocsp/" in url]
    (ca_path,) = [url for url in urls if "/ca/" in url]
    for tls, host in ((False, HOST), (False, "crl.example"), (True, HOST)):
        status, _, crl = ask(portal, "GET", crl_path, tls=tls, host=host)
        assert (status, x509.load_der_x509_crl(crl).issuer) == (200, certificate.issuer)
        headers = {"Content-Type": "application/ocsp-request"}
        posted = ask(portal, "POST", ocsp_path, question, tls=tls, host=host, headers=headers)
        got = ask(portal, "GET", f"{ocsp_path}/{base64.b64encode(question).decode()}", tls=tls, host=host)
        for status, _, reply in (posted, got):
            assert status == 200
            assert ocsp.load_der_ocsp_response(reply).certificate_status is ocsp.OCSPCertStatus.GOOD
    assert ask(portal, "GET", ca_path, tls=False)[0] == 200


def test_large_heads_are_refused_by_the_proxy_and_usual_ones_pass(portal: Production) -> None:
    assert ask(portal, "GET", "/login/", headers={"Cookie": "a=" + "b" * 6000})[0] == 200
    assert ask(portal, "GET", "/login/", headers={"Cookie": "a=" + "b" * 9000})[0] == 400
    assert ask(portal, "GET", "/login/?" + "q" * 9000)[0] == 414


@pytest.mark.parametrize("path", ["/api/v1/requests", "/api/v1/certificates/issue"])
def test_what_the_proxy_refuses_beneath_the_api_is_a_problem_document(portal: Production, path: str) -> None:
    length = {"Content-Length": "30000000", "Content-Type": "application/json"}
    status, headers, content = ask(portal, "POST", path, headers=length)
    assert (status, headers["Content-Type"]) == (413, "application/problem+json")
    assert json.loads(content)["status"] == 413


def test_sign_in_works_and_its_rate_is_limited(portal: Production, token: str) -> None:
    """S21: the flood is refused by the proxy, before a password is hashed; reading the page is not limited."""
    status, headers, page = ask(portal, "GET", "/login/")
    csrf = re.findall(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0].decode()
    cookie = headers["Set-Cookie"].split(";")[0]
    form = {"csrfmiddlewaretoken": csrf, "username": "alice", "password": PASSWORD}
    browser = {"Cookie": cookie, "Referer": f"https://{HOST}/login/", "Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = ask(portal, "POST", "/login/", urlencode(form), headers=browser)
    assert (status, headers["Location"]) == (302, "/")
    statuses = [ask(portal, "POST", path, b"")[0] for path in ("/login/", "/admin/login/") for _ in range(20)]
    assert 429 in statuses[20:]
    assert ask(portal, "GET", "/login/")[0] == 200


def test_redis_answers_nobody_without_a_password_and_no_client_may_manage_it(portal: Production) -> None:
    """S4"""
    with socket.create_connection(("127.0.0.1", portal.ports["redis"]), 5) as stranger:
        stranger.sendall(b"PING\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")
    url = (portal.folder / "secrets" / "redis_url").read_text()
    with redis.Redis.from_url(url) as client:
        assert client.ping()
        for command in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("ACL", "LIST"), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


class Pickled:
    """Unpickling it leaves a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def test_pickle_in_the_broker_is_not_loaded(portal: Production, token: str) -> None:
    """S4: whoever can write to Redis still runs no code; the worker drops the message and goes on."""
    marker = portal.folder / "unpickled"
    with Connection((portal.folder / "secrets" / "redis_url").read_text()) as connection:
        body: tuple[Any, ...] = ([Pickled(marker)], {}, {})
        headers = {"task": "certs.tasks.check_policy", "id": "1", "lang": "py"}
        producer = connection.Producer(serializer="pickle")
        producer.publish(body, routing_key="policy", declare=[Queue("policy")], headers=headers)

    def taken() -> bool:
        with redis.Redis.from_url((portal.folder / "secrets" / "redis_url").read_text()) as client:
            return not client.llen("policy")

    assert within(60, taken)
    test_request_in_words_passes_through_all_workers(portal, token)
    assert not marker.exists()
    log = portal.log("worker")
    assert "pickle" in log.read_text()
    log.write_text("")  # that line is expected; the last test looks for any other


def test_no_process_ended_or_logged_an_error(portal: Production, issued: dict[str, Any]) -> None:
    """The last test: after all of the above."""
    assert {name: process.poll() for name, process in portal.processes.items() if process.poll() is not None} == {}
    for name in portal.processes:
        lines = [line for line in portal.log(name).read_text().splitlines() if re.search(r"Traceback|\"(ERROR|CRITICAL)\"", line)]
        assert lines == [], name
