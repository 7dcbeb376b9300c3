"""Each mail, as the use case writes it: its subject, its link, and the state of every certificate that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test.signals import template_rendered

from certs.inventory import state_of
from certs.models import Certificate, OutgoingMail
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.notifications.album import pictures
from tests.certs.notifications.album_people import cast_of
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
FOLDER = Path(__file__).resolve().parents[3] / "templates" / "email"
ID = re.compile(r"cert-\d{14}-[0-9a-f]+")


def test_every_mail_has_a_link_and_shows_the_state_of_each_certificate_in_the_words_of_the_pages(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient, settings: Any
) -> None:
    """ux.md C1: one vocabulary of states for badge, list, mail, API and metrics."""
    used: set[str] = set()

    def note(template: Any, **_: Any) -> None:
        used.add(str(template.name))

    template_rendered.connect(note)
    faults, empty = [], []
    for scene, mails in pictures(cast_of(twin_portal, make_spec, twin_ca, settings)):
        if not mails:
            empty.append(scene)
        faults += [f"{scene}: {mail.subject}: {fault}" for mail in mails for fault in _faults(mail)]
    template_rendered.disconnect(note)
    assert empty == []
    assert not faults, "\n".join(faults)
    texts = {f"email/{path.name}" for path in FOLDER.glob("*.txt")}
    assert texts - used == set()


def _faults(mail: OutgoingMail) -> list[str]:
    buttons = len(re.findall(r"<a [^>]*class=\"button\"", mail.html))
    found = [] if buttons == 1 else [f"{buttons} buttons in place of one"]
    for cert_id in set(ID.findall(mail.body + mail.html)):
        word = state_of(Certificate.objects.get(cert_id=cert_id), database_now()).label
        if word not in mail.body:
            found.append(f"{cert_id} is {word}, and the text does not say so")
        # The message of an alert is one sentence, without badges.
        if (word if mail.topic == "machinery" else f"</span> {word}</span>") not in mail.html:
            found.append(f"{cert_id} is {word}, and the HTML part does not say so")
    return found
