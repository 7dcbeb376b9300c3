"""What people see of witnesses: a line on the audit page, and an alert for one that is silent."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from audit.log import Event, EventType, record_many
from audit.models import Checkpoint, Cosignature, WitnessState
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs.evidence.witnesses import SILENT, ask_witnesses
from certs.models import OperatorAlert
from db.clock import database_now
from tests.audit.cosigning import WITNESS, cosign
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _sealed(portal: Portal, settings: Any, tmp_path: Path) -> None:
    settings.AUDIT_HOME = tmp_path
    settings.AUDIT_WITNESSES = [f"{WITNESS} http://127.0.0.1:1"]
    ensure_sealing_key()
    seal()


def page(portal: Portal) -> str:
    client = Client()
    client.force_login(portal.carol)
    return client.get("/audit/").content.decode()


def test_silent_witness_is_an_alert_until_it_works_or_is_taken_out(portal: Portal, settings: Any) -> None:
    assert ask_witnesses() == 0
    assert not OperatorAlert.objects.exists()
    WitnessState.objects.update(since=database_now() - SILENT - timedelta(minutes=1))
    assert ask_witnesses() == 0
    alert = OperatorAlert.objects.get(closed_at=None)
    assert (alert.kind, alert.cause) == ("witness_silent", f"witness:{WITNESS.name}")
    assert "cannot be reached" in alert.message
    assert "It cannot be reached." in page(portal)
    settings.AUDIT_WITNESSES = []
    ask_witnesses()
    assert not OperatorAlert.objects.filter(closed_at=None).exists()


def test_page_says_what_each_witness_cosigned(portal: Portal) -> None:
    assert "has not cosigned yet" in page(portal)
    newest, now = Checkpoint.objects.get(), database_now()
    line, signed_at = cosign(newest.note, now)
    Cosignature.objects.create(checkpoint_id=newest.pk, witness=WITNESS.name, line=line, signed_at=signed_at)
    WitnessState.objects.create(
        witness=WITNESS.name, epoch=1, cosigned_size=newest.tree_size, cosigned_at=signed_at, tried_at=now, since=now
    )
    assert f"cosigned {newest.tree_size}" in " ".join(page(portal).split())
    client = Client()
    client.force_login(portal.bob)
    assert line in client.get("/audit/checkpoint.txt").content.decode()


def test_log_at_its_origin_is_for_who_sees_every_team_unless_the_setting_says_more(portal: Portal, settings: Any) -> None:
    with_entries, hashes = "/audit/epoch-1/tile/entries/000.p/1", "/audit/epoch-1/tile/0/000.p/1"
    visitors = {"carol": Client(), "bob": Client(), "nobody": Client()}
    visitors["carol"].force_login(portal.carol)
    visitors["bob"].force_login(portal.bob)
    wanted = {
        "nobody": {"carol": (200, 200), "bob": (404, 404), "nobody": (302, 302)},
        "hashes": {"carol": (200, 200), "bob": (404, 200), "nobody": (302, 200)},
        "entries": {"carol": (200, 200), "bob": (200, 200), "nobody": (200, 200)},
    }
    for value, expected in wanted.items():
        settings.PKI_AUDIT_TILES = value
        found = {who: tuple(one.get(path).status_code for path in (with_entries, hashes)) for who, one in visitors.items()}
        assert found == expected, value
    settings.PKI_AUDIT_TILES = "nobody"
    carol = visitors["carol"]
    assert carol.get("/audit/epoch-1/checkpoint").content.decode() == Checkpoint.objects.get().note
    for wrong in (
        "/audit/epoch-7/checkpoint",
        "/audit/epoch-1/tile/0/999",
        "/audit/epoch-1/tile/0/../x",
        "/audit/epoch-99999999999/checkpoint",
    ):
        assert carol.get(wrong).status_code == 404


def test_bundle_read_by_a_person_is_an_event(portal: Portal) -> None:
    client = Client()
    client.force_login(portal.carol)
    client.get("/audit/epoch-1/tile/entries/000.p/2")
    assert "events 0 to 1 of epoch 1" in page(portal)


def test_log_that_is_not_sealed_says_so(portal: Portal) -> None:
    from django.db import transaction  # noqa: PLC0415 - one use

    with transaction.atomic():
        record_many([Event(EventType.REQUEST_RESUMED, "request:req-1", SYSTEM, database_now() - timedelta(minutes=5), {})])
    assert "The log is not sealed" in page(portal)
