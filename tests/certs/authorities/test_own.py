"""Own CAs on pages: made, succeeded and distrusted, where the root's key is and where it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from django.urls import reverse

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.authorities.own import make_own_ca, roll_over
from certs.ca.local.setup import ensure_own_ca, succeed
from certs.ca.registry import forget_clients
from certs.errors import Conflict, PortalError
from certs.models import CRL, Issuer, OutgoingMail
from db.clock import database_now
from keys.spec import KeySpec
from tests.cast import person
from tests.portal.authority import issue, issuing_ca, publish_everything, published
from tests.portal.fixtures import SYSTEM, Portal
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "Internal-CA-Prod"


@pytest.fixture
def carol(portal: Portal) -> Client:
    """A security officer, at a portal whose CA works."""
    publish_everything()
    client = Client()
    client.force_login(portal.carol)
    return client


def send(client: Client, page: str, slug: str = "internal-ca-prod", **form: str) -> Any:
    return client.post(reverse(page, args=[slug] if slug else []), form)


def said(answer: Any, client: Client) -> str:
    """What the page says; the page behind it, where the form was accepted."""
    return (client.get(answer["Location"]) if answer.status_code == 302 else answer).content.decode()


def root_of(issuer: Issuer) -> Issuer:
    assert issuer.parent is not None
    return issuer.parent


def mails() -> set[str]:
    return set(OutgoingMail.objects.values_list("subject", flat=True))


def test_a_distrusted_ca_is_on_the_crl_of_its_root_with_an_event_and_a_mail(portal: Portal, carol: Client) -> None:
    issue(portal, 2)
    page = carol.get(reverse("ca-distrust", args=["internal-ca-prod"])).content.decode()
    assert "is published at once" in page
    answer = send(carol, "ca-distrust", reason="cACompromise", confirmation=NAME)
    assert "the CRL of its root says so" in said(answer, carol)
    issuer = issuing_ca()
    assert issuer.state == Issuer.State.DISTRUSTED
    assert issuer.certificate_der is not None
    serial = x509.load_der_x509_certificate(bytes(issuer.certificate_der)).serial_number
    assert published(root_of(issuer)).get_revoked_certificate_by_serial_number(serial) is not None
    event = AuditEvent.objects.get(event="issuer:state_changed")
    assert (event.actor_name, event.data["to"], event.data["reason"]) == ("carol", "distrusted", "cACompromise")
    assert f"The CA {NAME} is distrusted, as cACompromise" in mails()
    # Sent twice it stays as it is; another reason is refused.
    assert send(carol, "ca-distrust", reason="cACompromise", confirmation=NAME).status_code == 302
    again = send(carol, "ca-distrust", reason="superseded", confirmation=NAME)
    assert again.status_code == 409
    assert "is distrusted already" in again.content.decode()
    assert AuditEvent.objects.filter(event="issuer:state_changed").count() == 1


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"reason": "cACompromise", "confirmation": "internal-ca-prod"}, "Type the name Internal-CA-Prod"),
        ({"reason": "cACompromise"}, "Type the name Internal-CA-Prod"),
        ({"confirmation": NAME}, "Choose why"),
        ({"reason": "keyCompromise", "confirmation": NAME}, "Choose why"),
        ({"reason": "cACompromise", "confirmation": "\udcff"}, "Type the name"),
    ],
)
def test_nothing_is_distrusted_by_a_slip(carol: Client, form: dict[str, str], says: str) -> None:
    form = {name: value.encode(errors="replace").decode() for name, value in form.items()}
    answer = send(carol, "ca-distrust", **form)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert issuing_ca().state == Issuer.State.ACTIVE


def test_without_the_key_of_the_root_the_ca_is_distrusted_and_the_page_says_what_is_left(carol: Client, settings: Any) -> None:
    settings.KEY_BACKENDS = {name: one for name, one in settings.KEY_BACKENDS.items() if name != "root"}
    page = carol.get(reverse("ca-distrust", args=["internal-ca-prod"])).content.decode()
    assert "publish_crl --issuer internal-ca-prod-root" in page
    answer = send(carol, "ca-distrust", reason="cessationOfOperation", confirmation=NAME)
    assert "does not say so yet" in said(answer, carol)
    assert issuing_ca().state == Issuer.State.DISTRUSTED


def test_a_roll_over_on_the_page_makes_the_ca_that_takes_over(carol: Client) -> None:
    page = carol.get(reverse("ca-roll-over", args=["internal-ca-prod"])).content.decode()
    assert 'value="Internal-CA-Prod-G2"' in page
    answer = send(carol, "ca-roll-over", name="Internal-CA-Prod-G2", key="ec-p256", confirmation=NAME)
    assert "has taken over from Internal-CA-Prod" in said(answer, carol)
    old, new = Issuer.objects.get(name=NAME), Issuer.objects.get(name="Internal-CA-Prod-G2")
    assert (old.successor, new.parent, new.state) == (new, old.parent, Issuer.State.ACTIVE)
    assert CRL.objects.filter(point__issuer=new).exists()
    assert AuditEvent.objects.get(event="issuer:succeeded").actor_name == "carol"
    assert "The CA Internal-CA-Prod-G2 takes over from Internal-CA-Prod" in mails()
    assert carol.get(reverse("ca-roll-over", args=["internal-ca-prod"])).status_code == 404
    forget_clients()


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"confirmation": "G2"}, "Type the name"),
        ({"key": "dsa-1024"}, "Choose a key"),
        ({"name": "x"}, "no name for a CA"),
        ({"name": "A" * 65}, "no name for a CA"),
        ({"name": NAME}, "another CA named"),
    ],
)
def test_a_roll_over_that_cannot_be_keeps_what_was_typed(carol: Client, form: dict[str, str], says: str) -> None:
    answer = send(carol, "ca-roll-over", **({"name": "Next-CA", "key": "ec-p256", "confirmation": NAME} | form))
    assert answer.status_code in (409, 422)
    assert says in answer.content.decode()
    assert Issuer.objects.get(name=NAME).successor is None
    assert Issuer.objects.count() == 2


def test_without_the_key_of_the_root_nothing_is_rolled_over(carol: Client, settings: Any) -> None:
    settings.KEY_BACKENDS = {}
    answer = send(carol, "ca-roll-over", name="Next-CA", key="ec-p256", confirmation=NAME)
    assert answer.status_code == 409
    assert Issuer.objects.get(name=NAME).successor is None
    assert "manage.py bootstrap" in carol.get(reverse("ca-own-new")).content.decode()


def test_no_ca_follows_itself_or_one_that_it_followed(portal: Portal) -> None:
    """Whoever looks for the CA that issues would look without end."""
    first = issuing_ca()
    second = succeed(first, name="Second", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    for name in ("Second", first.name):
        with pytest.raises(Conflict, match="another CA named"):
            succeed(second, name=name, spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    forget_clients()


def test_an_own_ca_is_made_on_a_page(carol: Client) -> None:
    form = {"name": "Plant-CA", "organization": "Example Ltd", "key": "ec-p256", "confirmation": "Plant-CA"}
    answer = send(carol, "ca-own-new", "", **form)
    assert "Clients must trust its root first" in said(answer, carol)
    made = Issuer.objects.get(name="Plant-CA")
    assert made.parent is not None
    assert CRL.objects.filter(point__issuer=made).exists()
    assert CRL.objects.filter(point__issuer=made.parent).exists()
    assert AuditEvent.objects.filter(event="issuer:created", actor_name="carol").count() == 2
    assert any("Plant-CA was made" in subject for subject in mails())
    again = send(carol, "ca-own-new", "", **form)
    assert (again.status_code, Issuer.objects.filter(name__startswith="Plant").count()) == (422, 2)
    for wrong in ({"confirmation": "Plant"}, {"organization": ""}, {"key": ""}, {"name": "!!"}):
        assert send(carol, "ca-own-new", "", **(form | {"name": "Other-Plant", "confirmation": "Other-Plant"} | wrong)).status_code == 422
    assert Issuer.objects.filter(name__startswith="Other").count() == 0
    forget_clients()


def beside(act: Callable[[], Any]) -> tuple[threading.Thread, list[PortalError]]:
    """Begin an act of somebody else, and return once it waits for what the open transaction holds."""
    refused: list[PortalError] = []

    def run() -> None:
        try:
            act()
        except PortalError as exc:
            refused.append(exc)

    thread = in_thread(run)
    until_it_waits_for_a_lock()
    return thread, refused


def test_of_two_officers_who_roll_over_one_ca_at_once_one_does_it(portal: Portal) -> None:
    """The CA that the other one made must not issue: nobody was told that there are two."""
    publish_everything()
    first, _ = ensure_own_ca(name="Faster-CA", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    authority = Authority(Actor("user", "carol"), portal.carol)
    slower = partial(roll_over, issuing_ca(), name="Slower-CA", key="ec-p256", confirmation=NAME, authority=authority)
    with transaction.atomic():
        old = Issuer.objects.select_for_update().get(name=NAME)
        thread, refused = beside(slower)
        old.successor = first
        old.save(update_fields=["successor"])
    thread.join(30)
    assert "Faster-CA has taken over" in str(refused)
    assert Issuer.objects.get(name="Slower-CA").state == Issuer.State.REVOCATION_ONLY
    assert not any("Slower-CA takes over" in subject for subject in mails())
    forget_clients()


def test_of_two_officers_who_make_one_ca_at_once_the_second_is_told(portal: Portal) -> None:
    authority = Authority(Actor("user", "carol"), portal.carol)
    form = {"name": "Plant-CA", "organization": "Example Ltd", "key": "ec-p256", "confirmation": "Plant-CA"}
    with transaction.atomic():
        Issuer.objects.create(name="Plant-CA Root", slug="plant-ca-root", created_at=database_now())
        thread, refused = beside(partial(make_own_ca, form, authority=authority))
    thread.join(30)
    assert [type(one) for one in refused] == [Conflict]
    assert "was made in this moment" in str(refused)


@pytest.mark.parametrize("role", ["operator", "auditor", "approver", "requester"])
def test_only_a_security_officer_does_it(carol: Client, role: str) -> None:
    client = Client()
    user = person("other")
    user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    expected = 404 if role == "requester" else 403
    assert send(client, "ca-distrust", reason="cACompromise", confirmation=NAME).status_code == expected
    assert send(client, "ca-roll-over", name="Next-CA", key="ec-p256", confirmation=NAME).status_code == expected
    assert send(client, "ca-own-new", "", name="Plant-CA").status_code == expected
    assert issuing_ca().state == Issuer.State.ACTIVE
