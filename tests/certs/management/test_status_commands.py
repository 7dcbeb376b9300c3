"""publish_crl, reconcile_status, roll_over_ca: what they say, and their exit codes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.ca.registry import get_ca_client
from certs.models import Certificate, CertificateRequest, IssuanceIntent, Issuer, Revocation
from certs.renewal.renew import plan_renewal
from certs.revocation.deliver import process_revocations
from certs.status.crl import points_of, publish_crl
from certs.status.maintenance import keep_status_information
from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers
from db.clock import database_now
from keys.models import Key
from tests.certs.relying_parties import Files, crl_pem, openssl_ocsp, openssl_verify
from tests.certs.status.crl.lists import serials
from tests.portal.authority import issue, issuing_ca, publish_everything, published, revoke, served
from tests.portal.commands import run
from tests.portal.fixtures import SYSTEM, Portal, assert_inventory_is_sound

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_answers()
    forget_signers()


def test_publish_crl_publishes_and_writes_a_file(portal: Portal, tmp_path: Path) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    before = points_of(issuer)[0].last_number
    revoke(certificate)
    code, answer = run("publish_crl", "--output", str(tmp_path / "ca.crl"))
    (told,) = answer["crls"]
    crl = x509.load_der_x509_crl((tmp_path / "ca.crl").read_bytes())
    assert (code, answer["success"], told["issuer"], told["entries"]) == (0, True, issuer.name, 1)
    assert told["number"] > before
    assert crl == published(issuer)
    assert [f"{entry.serial_number:x}" for entry in crl] == [certificate.serial_number]


def test_file_holds_the_complete_crl_unless_a_shard_is_named(portal: Portal, tmp_path: Path, settings: Any) -> None:
    """T2: the newest shard alone, usually an empty list, is not what a reader of the file expects."""
    settings.PKI_CRL_SHARD_SIZE = 1
    (first,) = issue(portal, 1)
    publish_everything()
    keep_status_information()
    (second,) = issue(portal, 1, prefix="s")
    keep_status_information()
    for certificate in (first, second):
        revoke(certificate)
    file = tmp_path / "ca.crl"
    for shard, revoked, covers in (
        (0, [first, second], "every certificate of this CA"),
        (1, [second], "shard 1 only"),
    ):
        code, answer = run("publish_crl", "--output", str(file), "--shard", str(shard))
        crl = x509.load_der_x509_crl(file.read_bytes())
        assert (code, answer["output"], answer["output_covers"]) == (0, str(file), covers)
        assert serials(crl) == sorted(one.serial_number for one in revoked)
    assert run("reconcile_status")[0] == 0
    with pytest.raises(CommandError, match="no CRL shard 7"):
        call_command("publish_crl", "--output", str(file), "--shard", "7")


def test_file_for_several_cas_is_refused(portal: Portal, tmp_path: Path) -> None:
    """T2: after a roll-over nobody can know which CA's CRL the file should hold."""
    publish_everything()
    run("roll_over_ca")
    with pytest.raises(CommandError, match="--issuer"):
        call_command("publish_crl", "--output", str(tmp_path / "ca.crl"))
    assert not (tmp_path / "ca.crl").exists()
    code, answer = run("publish_crl", "--issuer", "internal-ca-prod-g2", "--output", str(tmp_path / "ca.crl"))
    assert (code, answer["success"]) == (0, True)


def test_ca_whose_crl_cannot_be_made_does_not_stop_the_others(portal: Portal) -> None:
    """T1: the command publishes what it can, and says which CRL is missing and why."""
    old = publish_everything()
    run("roll_over_ca")
    assert old.key is not None
    Key.objects.filter(pk=old.key.pk).update(state=Key.State.DESTROYED)
    code, answer = run("publish_crl")
    assert (code, answer["success"], [one["issuer"] for one in answer["crls"]]) == (1, False, [f"{old.name}-G2"])
    assert [one["crl"] for one in answer["errors"]] == [old.name]


def test_publish_crl_of_the_root_by_name(portal: Portal) -> None:
    issuer = publish_everything()
    assert issuer.parent is not None
    code, answer = run("publish_crl", "--issuer", issuer.parent.slug)
    (told,) = answer["crls"]
    assert (code, told["issuer"], told["entries"]) == (0, issuer.parent.name, 0)


def test_publish_crl_that_must_be_withheld_fails_and_says_why(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    publish_everything()
    Revocation.objects.all().delete()
    Certificate.objects.update(status="good", status_version=9)
    code, answer = run("publish_crl")
    assert (code, answer["success"]) == (1, False)
    assert certificate.serial_number in answer["error"]


def test_publish_crl_of_nobody_is_wrong_usage(portal: Portal) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("publish_crl", "--issuer", "nobody")
    assert caught.value.returncode == 2


def test_crl_ocsp_and_inventory_agree(portal: Portal) -> None:
    certificates = issue(portal, 13)
    for certificate, reason in zip(certificates, ("unspecified", "keyCompromise", "certificateHold", "superseded"), strict=False):
        revoke(certificate, reason)
    process_revocations()
    publish_everything()
    code, answer = run("reconcile_status")
    (told,) = answer["issuers"]
    assert (code, answer["success"], told["compared"], told["differences"], told["first"]) == (0, True, 13, 0, [])
    assert AuditEvent.objects.filter(event="status:reconciled").count() == 1


def _long_ago(certificate: Certificate) -> None:
    Revocation.objects.filter(pk=certificate.pk).update(requested_at=database_now() - timedelta(hours=2))


def test_differences_are_told_one_by_one(portal: Portal) -> None:
    missing, undone, reason = issue(portal, 3)
    revoke(undone)
    revoke(reason, "superseded")
    publish_everything()
    revoke(missing)  # and no CRL follows
    _long_ago(missing)
    Revocation.objects.filter(pk=reason.pk).update(reason="cessationOfOperation")
    Revocation.objects.filter(pk=undone.pk).delete()
    Certificate.objects.filter(pk=undone.pk).update(status="good")
    code, answer = run("reconcile_status")
    (told,) = answer["issuers"]
    assert code == 1
    assert sorted(told["first"]) == sorted(
        [
            f"{missing.serial_number}: revoked in the inventory, not on the CRL",
            f"{undone.serial_number}: good in the inventory, on the CRL",
            f"{reason.serial_number}: on another CRL, or for another reason, than the inventory says",
        ]
    )


def test_young_revocation_is_no_difference_yet(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    publish_everything()
    revoke(certificate)
    assert run("reconcile_status")[0] == 0


def test_responder_that_cannot_answer_is_a_difference(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    for point in points_of(issuing_ca()):
        publish_crl(point, actor=SYSTEM)
    code, answer = run("reconcile_status")
    assert (code, answer["issuers"][0]["first"]) == (1, [f"{certificate.serial_number}: OCSP replies try_later"])


def test_roll_over(portal: Portal, tmp_path: Path) -> None:
    """The new CA issues at once, without a restart; the old one's certificates keep CRL and OCSP; each is judged by its own CA."""
    (before,) = issue(portal, 1)
    old = publish_everything()
    get_ca_client(old.alias).chain()  # a process that has worked with the old one
    code, answer = run("roll_over_ca")
    assert (code, answer["issuer"], answer["took_over_from"], answer["its_state"]) == (0, f"{old.name}-G2", old.name, "revocation_only")
    (after,) = issue(portal, 1, prefix="after")
    new = after.issuer
    assert (new.name, new.parent_id, before.issuer_id) == (f"{old.name}-G2", old.parent_id, old.pk)
    revoke(before)
    revoke(after)
    process_revocations()
    keep_status_information()
    assert new.parent is not None
    for certificate in (before, after):
        issuer = Issuer.objects.select_related("parent").get(pk=certificate.issuer_id)
        folder = tmp_path / issuer.slug
        folder.mkdir()
        files = Files.of(issuer, folder)
        assert [f"{entry.serial_number:x}" for entry in published(issuer)] == [certificate.serial_number]
        assert (
            openssl_verify(files, certificate, crl_pem(folder / "crls.pem", published(issuer), published(new.parent)))
            == "certificate revoked"
        )
        with served() as url:
            assert openssl_ocsp(files, certificate, f"{url}/pki/ocsp/{issuer.slug}") == "revoked"
    assert_inventory_is_sound()
    assert run("reconcile_status")[0] == 0


def test_certificate_of_the_old_ca_is_renewed_by_the_new_one(portal: Portal) -> None:
    """Also while PKI_DEFAULT_CA still names the old one, and before that one has retired."""
    certificates = issue(portal, 2)
    old = publish_everything()
    assert run("roll_over_ca")[1]["its_state"] == "revocation_only"
    for certificate, state in zip(certificates, ("revocation_only", "active"), strict=True):
        Issuer.objects.filter(pk=old.pk).update(state=state)
        plan = plan_renewal(certificate, authority=Authority(SYSTEM))
        assert (plan.verdict, plan.issuer.name) == ("go", f"{old.name}-G2")
        assert f"{old.name}-G2 issues instead." in plan.notes[0]


def test_roll_over_twice_makes_the_third_generation(portal: Portal) -> None:
    publish_everything()
    first = issuing_ca()
    names = [run("roll_over_ca")[1]["issuer"] for _ in range(2)]
    assert names == [f"{first.name}-G2", f"{first.name}-G3"]
    (certificate,) = issue(portal, 1)
    assert certificate.issuer.name == names[-1]
    events = list(AuditEvent.objects.filter(event="issuer:succeeded").order_by("pk").values_list("data", flat=True))
    assert [event["successor"] for event in events] == names


def test_roll_over_again_after_a_crash_finds_what_was_made(portal: Portal) -> None:
    publish_everything()
    old = issuing_ca()
    run("roll_over_ca", "--name", "Next CA")
    Issuer.objects.filter(pk=old.pk).update(successor=None, state="active")  # the crash came before the last step
    code, answer = run("roll_over_ca", "--name", "Next CA")
    assert (code, answer["issuer"], Issuer.objects.filter(name="Next CA").count()) == (0, "Next CA", 1)


def test_old_ca_keeps_issuing_what_was_asked_of_it(portal: Portal) -> None:
    """A request that is under way at the roll-over is finished by the CA it was made for; only then that one retires."""
    publish_everything()
    old = issuing_ca()
    (certificate,) = issue(portal, 1)
    CertificateRequest.objects.filter(pk=certificate.request_id).update(state="csr_created")
    assert run("roll_over_ca")[1]["its_state"] == "active"
    CertificateRequest.objects.filter(pk=certificate.request_id).update(state="completed")
    keep_status_information()
    assert Issuer.objects.get(pk=old.pk).state == "revocation_only"
    assert AuditEvent.objects.filter(event="issuer:state_changed", subject=f"issuer:{old.slug}").count() == 1


def test_intent_book_of_a_retired_ca_is_closed(portal: Portal) -> None:
    publish_everything()
    old = issuing_ca()
    run("roll_over_ca")
    before = IssuanceIntent.objects.filter(issuer=old).count()
    issue(portal, 2)
    assert IssuanceIntent.objects.filter(issuer=old).count() == before
