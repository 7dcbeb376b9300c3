"""Places: asked for, looked at, written down, looked at again after a renewal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.db.models import F

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.errors import InputRefused, NotFound, NotPermitted, TooMany
from certs.installation import places
from certs.installation.looking import look_again, look_at
from certs.installation.places import Disabled, ask, forget, places_of, read_place
from certs.installation.words import words_of
from certs.inventory import CertificateState, in_state, listed_state, state_of, still_served, with_state
from certs.models import Certificate, InstalledPlace, OutgoingMail, PlaceOutcome, RateCounter, StartTLS
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import intermediates_of
from db.clock import database_now
from tests.certs.installation import servers
from tests.certs.life import brought, issued, renewed
from tests.harness.processes import free_port
from tests.portal.authority import revoke
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HOST = "shop.example.com"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _network(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS in which every name is this machine, which the administrator allowed."""
    servers.answer_names(monkeypatch, "127.0.0.1")
    settings.PKI_LIVE_NETWORKS = [ip_network("127.0.0.0/8")]


@pytest.fixture
def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def certificate(portal: Portal, key: Any) -> Certificate:
    return issued(brought(HOST, key=key), portal.requester())


@pytest.fixture
def alice(portal: Portal) -> Authority:
    return portal.requester().authority


def fullchain(certificate: Certificate) -> bytes:
    return (pem_of(bytes(certificate.body.der)) + intermediates_of(certificate.chain.pem)).encode()


@pytest.fixture
def server(certificate: Certificate, key: Any) -> Iterator[tuple[servers.Switch, int]]:
    switch = servers.Switch(fullchain(certificate), key)
    with servers.listening(switch) as port:
        yield switch, port


def checked(certificate: Certificate, port: int, alice: Authority, *, host: str = HOST) -> InstalledPlace:
    place = ask(certificate, read_place(f"{host}:{port}"), authority=alice)
    assert place.is_being_looked_at
    look_at(place.pk)
    seen = InstalledPlace.objects.select_related("certificate", "served").get(pk=place.pk)
    assert not seen.is_being_looked_at
    return seen


# --- what is seen ---


def test_installed_certificate_is_seen_and_written_down(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    place = checked(certificate, server[1], alice)
    assert (place.outcome, place.address, place.protocol) == ("served", "127.0.0.1", "TLSv1.3")
    assert (place.served, place.served_sha256) == (certificate, certificate.sha256_fingerprint)
    assert place.chain == fullchain(certificate).decode()
    assert "with its whole chain" in words_of(place, database_now()).what
    asked, observed = AuditEvent.objects.filter(event__in=["certificate:check_requested", "certificate:observed"]).order_by("pk")
    assert (asked.actor_name, asked.data["host"], asked.data["port"]) == ("alice", HOST, server[1])
    assert (observed.actor_name, observed.data["outcome"]) == ("alice", "served")


def test_missing_intermediate_is_named(certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, key: Any) -> None:
    server[0].reload(pem_of(bytes(certificate.body.der)).encode(), key)
    place = checked(certificate, server[1], alice)
    assert place.outcome == PlaceOutcome.NO_INTERMEDIATE
    assert "Internal-CA-Prod" in place.detail
    assert "fullchain.pem" in words_of(place, database_now()).next


def test_root_instead_of_the_intermediate_is_no_whole_chain(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, key: Any
) -> None:
    root = certificate.chain.pem.removeprefix(intermediates_of(certificate.chain.pem))
    server[0].reload(pem_of(bytes(certificate.body.der)).encode() + root.encode(), key)
    assert checked(certificate, server[1], alice).outcome == PlaceOutcome.NO_INTERMEDIATE


def test_old_certificate_after_a_renewal_is_told_from_the_new_one(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, key: Any
) -> None:
    new = renewed(certificate)
    place = checked(certificate, server[1], alice)  # asked on the page of the old one
    assert (place.outcome, place.certificate, place.served) == ("old", new, certificate)
    assert "Did you reload the server?" in words_of(place, database_now()).what
    server[0].reload(fullchain(new), key)
    again = checked(new, server[1], alice)
    assert (again.pk, again.outcome, InstalledPlace.objects.count()) == (place.pk, "served", 1)


def test_name_that_is_not_in_the_certificate_is_said(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    place = checked(certificate, server[1], alice, host="www.shop.example.com")
    assert place.outcome == PlaceOutcome.WRONG_NAME
    assert "www.shop.example.com is not one of its names" in words_of(place, database_now()).what


def test_server_named_by_its_address_is_asked_for_the_name(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    assert checked(certificate, server[1], alice, host="127.0.0.1").outcome == PlaceOutcome.SERVED


def test_certificate_of_another_ca_is_said_in_its_own_words_made_safe(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    chain, key = servers.stranger(HOST)
    server[0].reload(chain, key)
    place = checked(certificate, server[1], alice)
    assert (place.outcome, place.served, place.served_issuer) == ("other_ca", None, "CN=Another CA")
    assert "issued by CN=Another CA, which ends on" in words_of(place, database_now()).what


def test_another_certificate_of_the_portal_is_said(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, portal: Portal
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = issued(brought("mail.example.com", key=key), portal.requester())
    server[0].reload(fullchain(other), key)
    place = checked(certificate, server[1], alice)
    assert (place.outcome, place.served) == ("another", other)
    assert "mail.example.com" in words_of(place, database_now()).what


def test_unreachable_place_keeps_what_was_seen_before(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    place = checked(certificate, server[1], alice)
    InstalledPlace.objects.update(port=free_port())
    place = checked(certificate, InstalledPlace.objects.get().port, alice)
    assert (place.outcome, place.failures, place.served) == ("unreachable", 1, certificate)
    assert words_of(place, database_now()).what.startswith("Nothing listens on port")


@pytest.mark.parametrize("outcome", list(PlaceOutcome))
def test_each_outcome_has_words(certificate: Certificate, alice: Authority, outcome: PlaceOutcome) -> None:
    place = ask(certificate, read_place(HOST), authority=alice)
    place.outcome, place.detail = outcome, "Something was found."
    words = words_of(place, database_now())
    assert words.what.endswith((".", "?"))
    assert bool(words.next) == (outcome != PlaceOutcome.SERVED)


# --- who may ask, for what, how often ---


@pytest.mark.parametrize(
    ("text", "speaks", "host", "port", "starttls"),
    [
        ("shop.example.com", "port", HOST, 443, ""),
        (" Shop.Example.com.:8443 ", "port", HOST, 8443, ""),
        ("https://shop.example.com/basket?x=1", "port", HOST, 443, ""),
        ("mail.example.com:587", "port", "mail.example.com", 587, "smtp"),
        ("db.example.com:5432", "port", "db.example.com", 5432, "postgres"),
        ("db.example.com:5432", "", "db.example.com", 5432, ""),
        ("mail.example.com:2525", "smtp", "mail.example.com", 2525, "smtp"),
        ("[2001:DB8::1]:443", "port", "2001:db8::1", 443, ""),
        ("2001:db8::1", "port", "2001:db8::1", 443, ""),
        ("192.0.2.7", "port", "192.0.2.7", 443, ""),
        ("bücher.example.com", "port", "xn--bcher-kva.example.com", 443, ""),
    ],
)
def test_place_is_read_as_people_write_it(text: str, speaks: str, host: str, port: int, starttls: str) -> None:
    where = read_place(text, speaks)
    assert (where.host, where.port, where.starttls) == (host, port, StartTLS(starttls))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "shop.example.com:",
        "shop.example.com:0",
        "shop.example.com:70000",
        "shop.example.com:https",
        "*.example.com",
        "a b.example.com",
        "shop.example.com\r\nQUIT",
        "-x.example.com",
        "[::1",
        "x" * 300,
        "2130706433",
        "user@shop.example.com",
    ],
)
def test_what_is_no_place_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputRefused) as caught:
        read_place(text)
    assert caught.value.field == "place"
    assert caught.value.next_step


def test_unknown_way_to_begin_tls_is_refused() -> None:
    with pytest.raises(InputRefused):
        read_place(HOST, "ftp")


def test_nothing_is_looked_at_unless_an_administrator_allowed_a_network(certificate: Certificate, alice: Authority, settings: Any) -> None:
    settings.PKI_LIVE_NETWORKS = []
    with pytest.raises(Disabled):
        ask(certificate, read_place(HOST), authority=alice)
    assert not InstalledPlace.objects.exists()


def test_address_outside_the_networks_is_refused_before_anything_is_written(certificate: Certificate, alice: Authority) -> None:
    with pytest.raises(InputRefused):
        ask(certificate, read_place("169.254.169.254:80"), authority=alice)
    assert not InstalledPlace.objects.exists()


def test_name_that_gets_another_address_later_is_not_connected_to(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, settings: Any
) -> None:
    """DNS rebinding: allowed when it was asked for, and not when it is looked at."""
    place = ask(certificate, read_place(f"{HOST}:{server[1]}"), authority=alice)
    settings.PKI_LIVE_NETWORKS = [ip_network("0.0.0.0/0")]
    assert look_at(place.pk) == PlaceOutcome.NOT_ALLOWED
    assert server[0].connections == 0


def test_only_members_of_the_team_and_officers_ask(certificate: Certificate, portal: Portal) -> None:
    def asked_by(user: Any) -> None:
        requester = portal.requester()
        ask(certificate, read_place(f"{user}.example.com"), authority=Authority(requester.actor, user))

    with pytest.raises(NotFound):
        asked_by(portal.bob)
    asked_by(portal.carol)  # an officer
    asked_by(portal.alice)
    portal.team.members.remove(portal.alice)
    with pytest.raises((NotFound, NotPermitted)):
        asked_by(portal.alice)


def test_person_who_asks_too_often_waits(certificate: Certificate, alice: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "OF_PERSON", 2)
    for number in range(2):
        ask(certificate, read_place(f"a{number}.example.com"), authority=alice)
    with pytest.raises(TooMany) as caught:
        ask(certificate, read_place("a3.example.com"), authority=alice)
    assert 0 < caught.value.retry_after <= 600
    assert caught.value.next_step == "Try again in 10 minutes."
    assert InstalledPlace.objects.count() == 2
    RateCounter.objects.update(ends_at=database_now())
    ask(certificate, read_place("a3.example.com"), authority=alice)


def test_team_that_asks_too_often_waits(
    certificate: Certificate, alice: Authority, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OF_TEAM", 1)
    ask(certificate, read_place(HOST), authority=alice)
    with pytest.raises(TooMany):
        ask(certificate, read_place("b.example.com"), authority=Authority(alice.actor, portal.carol))


def test_look_that_is_under_way_is_not_asked_for_twice(certificate: Certificate, alice: Authority) -> None:
    first = ask(certificate, read_place(HOST), authority=alice)
    assert ask(certificate, read_place(HOST), authority=alice) == first
    assert AuditEvent.objects.filter(event="certificate:check_requested").count() == 1


def test_place_is_forgotten(certificate: Certificate, alice: Authority) -> None:
    place = ask(certificate, read_place(HOST), authority=alice)
    forget(place, authority=alice)
    assert (places_of(certificate), look_at(place.pk or 0)) == ([], None)
    assert AuditEvent.objects.filter(event="certificate:place_forgotten", actor_name="alice").count() == 1


# --- after a renewal ---


@pytest.fixture
def later(portal: Portal) -> Iterator[Callable[[timedelta], None]]:
    """Let time pass for what is written about renewals and places."""
    passed = timedelta()

    def pass_by(time: timedelta) -> None:
        nonlocal passed
        passed += time
        Certificate.objects.update(issued_at=F("issued_at") - time)
        InstalledPlace.objects.update(asked_at=F("asked_at") - time, seen_at=F("seen_at") - time)

    yield pass_by
    Certificate.objects.update(issued_at=F("issued_at") + passed)  # the inventory is judged at its end


def test_renewal_that_is_not_installed_needs_its_owner_and_is_mailed_once(
    certificate: Certificate,
    server: tuple[servers.Switch, int],
    alice: Authority,
    key: Any,
    later: Callable[[timedelta], None],
) -> None:
    checked(certificate, server[1], alice)
    new = renewed(certificate)
    later(2 * DAY)
    assert look_again() == 0  # the owner has three days
    later(2 * DAY)
    assert look_again() == 1
    now = database_now()
    certificate.refresh_from_db()
    place = InstalledPlace.objects.get()
    assert (place.outcome, place.certificate, place.asked_by) == ("old", new, "")
    assert state_of(certificate, now) == CertificateState.NEEDS_YOU
    assert state_of(new, now) == CertificateState.VALID
    mail = OutgoingMail.objects.get(dedup_key=f"still-old:{certificate.cert_id}:found")
    assert mail.recipient == "alice@example.com"
    assert mail.subject.startswith(f"Old certificate still served: {HOST}, reload by ")
    assert f"{HOST}:{server[1]}" in mail.body

    assert look_again() == 0  # not again before tomorrow
    later(2 * DAY)
    assert look_again() == 1
    assert OutgoingMail.objects.filter(dedup_key__startswith="still-old:").count() == 1

    server[0].reload(fullchain(new), key)
    later(2 * DAY)
    assert look_again() == 1
    assert state_of(certificate, now) == CertificateState.RENEWED
    later(2 * DAY)
    assert look_again() == 0  # all is well: nobody looks any more


def test_state_in_lists_is_that_of_the_page(certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority) -> None:
    new = renewed(certificate)
    checked(new, server[1], alice)
    now = database_now()
    rows = Certificate.objects.all()
    assert {row.pk: listed_state(row) for row in with_state(rows, now)} == {
        certificate.pk: CertificateState.NEEDS_YOU,
        new.pk: CertificateState.VALID,
    }
    assert list(in_state(rows, CertificateState.NEEDS_YOU, now)) == [certificate]
    assert list(in_state(rows, CertificateState.RENEWED, now)) == []
    assert list(still_served(rows, now=now)) == [certificate]


def test_place_whose_renewal_was_revoked_is_about_the_old_certificate_again(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority
) -> None:
    new = renewed(certificate)
    checked(new, server[1], alice)
    revoke(new, RevocationReason.SUPERSEDED)
    assert checked(certificate, server[1], alice).outcome == PlaceOutcome.SERVED
    assert state_of(certificate, database_now()) == CertificateState.VALID


def test_place_without_an_answer_is_left_to_people_after_some_days(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, later: Callable[[timedelta], None]
) -> None:
    place = checked(certificate, server[1], alice)
    InstalledPlace.objects.update(port=free_port())
    renewed(certificate)
    looks = 0
    for _ in range(12):
        later(2 * DAY)
        looks += look_again()
    place.refresh_from_db()
    assert (looks, place.failures, place.outcome) == (6, 6, "unreachable")
    assert not OutgoingMail.objects.filter(dedup_key__startswith="still-old:").exists()


def test_look_whose_task_was_lost_is_made_by_the_schedule(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, later: Callable[[timedelta], None]
) -> None:
    place = ask(certificate, read_place(f"{HOST}:{server[1]}"), authority=alice)
    assert look_again() == 0
    later(timedelta(minutes=1))
    assert look_again() == 1
    place.refresh_from_db()
    assert place.outcome == PlaceOutcome.SERVED


def test_result_that_comes_after_the_place_was_asked_for_again_is_dropped(
    certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certs.installation import looking, probe  # noqa: PLC0415 - patched here alone

    place = ask(certificate, read_place(f"{HOST}:{server[1]}"), authority=alice)
    real = probe.look

    def overtaken(*args: Any, **more: Any) -> Any:
        InstalledPlace.objects.filter(pk=place.pk).update(asked_at=database_now())
        return real(*args, **more)

    monkeypatch.setattr(looking, "look", overtaken)
    assert look_at(place.pk) is None
    assert InstalledPlace.objects.get().outcome == ""


def test_chain_that_is_kept_is_what_was_sent(certificate: Certificate, server: tuple[servers.Switch, int], alice: Authority) -> None:
    from cryptography import x509  # noqa: PLC0415 - of this test alone

    place = checked(certificate, server[1], alice)
    sent = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(place.chain.encode())]
    assert sent[0] == bytes(certificate.body.der)
    assert len(sent) == 2
