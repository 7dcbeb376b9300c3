"""Renewal: the same content under the policy of today, once, on the same key unless something speaks against it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from django.db import connections

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.errors import Conflict, NotFound, NotPermitted, PolicyRefused
from certs.models import Certificate, CertificateRequest, Issuer
from certs.renewal.plan import KeyOption
from certs.renewal.renew import plan_renewal, renew
from certs.requests.approvals import approval
from certs.requests.lineage import lineage_of
from certs.requests.submit import Requester, submit_many
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from keys.models import Key
from keys.spec import spki_sha256
from keys.use import private_key_for
from tests.cast import Cast
from tests.certs.life import PORTAL, brought, events_of, finished, issued, new_policy, renewed, walk
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec) -> Certificate:
    return issued(make_spec(), twin_portal)


def test_renewal_is_a_new_row_on_the_same_key(certificate: Certificate) -> None:
    before = Certificate.objects.values().get(pk=certificate.pk)
    new = renewed(certificate)
    assert (new.renewed_from, new.key, new.spki_sha256) == (certificate, certificate.key, certificate.spki_sha256)
    assert (new.serial_number != certificate.serial_number, new.cert_id != certificate.cert_id) == (True, True)
    assert Certificate.objects.values().get(pk=certificate.pk) == before
    assert Key.objects.count() == 1
    assert lineage_of(certificate) == lineage_of(new) == [certificate, new]
    assert events_of(certificate) == ["certificate:renewed"]
    names = x509.load_der_x509_certificate(bytes(new.body.der)).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["api.example.com"]


def test_renewing_twice_answers_the_first(certificate: Certificate) -> None:
    first = renew(certificate, authority=PORTAL, channel="command", begin=False)
    during = renew(certificate, authority=PORTAL, channel="command", begin=False)
    finished(first)
    after = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert [first.already, during.already, after.already] == [False, True, True]
    assert first.request == during.request == after.request
    assert Certificate.objects.count() == 2


def test_an_option_that_was_not_met_is_refused_and_never_a_success(certificate: Certificate) -> None:
    """O6: `renew --new-key` after a renewal answered `success: true, "key": "kept"`."""
    first = renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.KEEP, begin=False)
    for plan_or_do in (
        lambda: renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.NEW, begin=False),
        lambda: plan_renewal(certificate, authority=PORTAL, key_option=KeyOption.NEW),
    ):
        with pytest.raises(Conflict, match="renewed already") as refused:
            plan_or_do()
        assert first.request.public_id in refused.value.next_step
    finished(first)
    with pytest.raises(Conflict) as refused:
        renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.NEW, begin=False)
    newest = lineage_of(certificate)[-1]
    assert newest.cert_id in refused.value.next_step
    assert Certificate.objects.count() == 2
    assert renew(newest, authority=PORTAL, channel="command", key_option=KeyOption.NEW, begin=False).already is False
    for key_option in (KeyOption.KEEP, KeyOption.DEFAULT):
        assert renew(certificate, authority=PORTAL, channel="command", key_option=key_option, begin=False).already


def test_a_key_that_was_made_anew_is_not_kept(certificate: Certificate) -> None:
    finished(renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.NEW, begin=False))
    with pytest.raises(Conflict, match="with a new key"):
        renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.KEEP, begin=False)


def test_an_officer_renews_for_a_team_without_being_its_member_and_only_while_an_officer(cast: Cast, make_spec: MakeSpec) -> None:
    """The renewal was accepted, and then rejected before the CA: "officer has left team Web"."""
    officer = cast.authority("officer")
    first, second = (issued(make_spec(), cast.requester("requester")) for _ in range(2))
    assert finished(renew(first, authority=officer, channel="portal", begin=False)).state == S.COMPLETED
    begun = renew(second, authority=officer, channel="portal", begin=False).request
    cast["officer"].groups.clear()
    walk([begun.pk])
    begun.refresh_from_db()
    assert (begun.state, "may not act for team Web" in begun.error) == (S.REJECTED, True)


def test_two_renewals_at_once_are_one(certificate: Certificate) -> None:
    barrier, found = threading.Barrier(4), []

    def go() -> None:
        try:
            barrier.wait(10)
            found.append(renew(certificate, authority=PORTAL, channel="command", begin=False))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({renewal.request.pk for renewal in found}) == 1
    assert sorted(renewal.already for renewal in found) == [False, True, True, True]


def test_new_key_is_another_key_and_signs_its_own_csr(certificate: Certificate) -> None:
    new = renewed(certificate, key_option=KeyOption.NEW)
    assert new.key is not None
    assert certificate.key is not None
    assert (new.key.name, new.key.version) == (certificate.key.name, certificate.key.version + 1)
    rotated = AuditEvent.objects.get(subject=new.request.subject, event="key:rotated")
    assert (rotated.data["version"], rotated.data["from_version"]) == (2, 1)
    assert new.spki_sha256 == spki_sha256(private_key_for(new.key).public_key()) != certificate.spki_sha256
    assert certificate.spki_sha256 == spki_sha256(private_key_for(certificate.key).public_key())


def test_renewal_under_a_shorter_limit_is_shortened_and_says_so(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(days=300), twin_portal)
    new_policy("v2.4", max_validity={"days": 200})
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert renewal.plan.notes == ("Validity is shortened from 300 to 200 days: policy v2.4 allows no more.",)
    request = finished(renewal)
    assert (request.state, request.validity_days, request.policy_version) == (S.COMPLETED, 200, "v2.4")
    assert (request.certificate.not_after - request.certificate.not_before).days == 199  # 200 days less the last second


def test_renewal_that_a_stricter_policy_refuses_makes_nothing_and_names_both_versions(certificate: Certificate) -> None:
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    with pytest.raises(PolicyRefused) as refused:
        renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert "Curve P-256 is not allowed" in refused.value.message
    assert "issued under v2.3, refused under v2.4" in refused.value.message
    assert (refused.value.policy_version, refused.value.next_step) == ("v2.4", "Use curve P-384")
    assert CertificateRequest.objects.count() == 1
    assert events_of(certificate) == ["certificate:renewal_refused"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"allowed": False}, "the key may not be used again"),
        ({"allowed": True, "max_certificates": 1}, "already served 1 certificates; maximum 1"),
    ],
    ids=["forbidden", "by count"],
)
def test_key_that_served_its_time_is_replaced(certificate: Certificate, rule: dict[str, Any], says: str) -> None:
    new_policy("v2.4", key_reuse_at_renewal=rule)
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert says in renewal.plan.notes[0]
    assert finished(renewal).certificate.key != certificate.key


def test_key_limit_counts_what_was_issued_since(certificate: Certificate) -> None:
    new_policy("v2.4", key_reuse_at_renewal={"allowed": True, "max_certificates": 2})
    second = renewed(certificate)
    assert second.key == certificate.key
    third = renewed(second)
    assert third.key != second.key


def test_wish_to_keep_the_key_is_refused_rather_than_ignored(certificate: Certificate) -> None:
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    with pytest.raises(PolicyRefused) as refused:
        renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.KEEP, begin=False)
    assert refused.value.next_step == "Use a new key"


def test_brought_csr_is_renewed_with_that_csr(twin_portal: Requester) -> None:
    certificate = issued(brought("own.example.com"), twin_portal)
    new = renewed(certificate)
    assert (new.key, new.spki_sha256) == (None, certificate.spki_sha256)
    assert bytes(new.request.csr.der) == bytes(certificate.request.csr.der)


def test_brought_csr_gets_no_new_key_from_us(twin_portal: Requester) -> None:
    certificate = issued(brought("own.example.com"), twin_portal)
    with pytest.raises(PolicyRefused, match="its owner's own") as refused:
        renew(certificate, authority=PORTAL, channel="command", key_option=KeyOption.NEW, begin=False)
    assert refused.value.next_step == "Make a new key pair and send a new CSR."


def test_renewal_that_failed_makes_room_for_another(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    first = renew(certificate, authority=PORTAL, channel="command", begin=False)
    Issuer.objects.update(state="revocation_only")
    assert finished(first).state == S.FAILED
    Issuer.objects.update(state="active")
    second = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert finished(second).state == S.COMPLETED
    first.request.refresh_from_db()
    assert (first.request.state, first.request.resume_id) == (S.CANCELLED, None)


def test_ca_that_issues_no_more_gives_way_to_the_default(certificate: Certificate, settings: Any, twin_ca: TwinCAClient) -> None:
    settings.CA_CLIENTS = {name: {"CLIENT": "tests.twins.ca.TwinCAClient"} for name in ("Twin-CA", "Next-CA")}
    settings.PKI_DEFAULT_CA = "Next-CA"
    from certs.ca.registry import get_ca_client  # noqa: PLC0415 - after the settings changed

    Issuer.objects.update(state="revocation_only")
    following = get_ca_client("Next-CA")
    assert isinstance(following, TwinCAClient)
    Issuer.objects.create(
        name="Next-CA", slug="next-ca", alias="Next-CA", trust_anchor_der=following.root_der, created_at=certificate.issued_at
    )
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    assert "Next-CA issues instead" in renewal.plan.notes[0]
    assert finished(renewal).certificate.issuer.name == "Next-CA"


def test_revoked_lineage_is_not_renewed_but_a_superseded_one_is(twin_portal: Requester, make_spec: MakeSpec) -> None:
    revoked = issued(make_spec("a.example.com"), twin_portal)
    revoke(revoked, reason=R.CESSATION_OF_OPERATION, authority=PORTAL, begin=False)
    with pytest.raises(Conflict, match="nothing follows it"):
        renew(revoked, authority=PORTAL, channel="command", begin=False)
    replaced = issued(make_spec("b.example.com"), twin_portal)
    revoke(replaced, reason=R.SUPERSEDED, authority=PORTAL, begin=False)
    assert renewed(replaced).renewed_from == replaced


def test_lineage_counts_by_its_newest_certificate(certificate: Certificate) -> None:
    new = renewed(certificate)
    revoke(new, reason=R.PRIVILEGE_WITHDRAWN, authority=PORTAL, begin=False)
    with pytest.raises(Conflict, match=new.cert_id):
        renew(certificate, authority=PORTAL, channel="command", begin=False)


def acting(user: Any) -> Authority:
    return Authority(Actor("user", user.username), user)


def test_owner_and_security_team_may_renew_others_see_nothing(certificate: Certificate, cast: Cast) -> None:
    for name, error in (("outsider", NotFound), ("auditor", NotPermitted)):
        with pytest.raises(error):
            renew(certificate, authority=acting(cast[name]), channel="portal", begin=False)
    assert CertificateRequest.objects.count() == 1
    assert renew(certificate, authority=acting(cast["veteran"]), channel="portal", begin=False).already is False
    assert renew(certificate, authority=acting(cast["requester"]), channel="portal", begin=False).already is True


def test_approval_is_inherited_by_the_same_content_only(cast: Cast, make_spec: MakeSpec) -> None:
    requester = cast.requester("requester")
    (request,) = submit_many([make_spec("*.apps.example.com", days=300)], requester=requester)
    walk([request.pk])
    request.refresh_from_db()
    approval.approve(request, user=cast["veteran"], digest=request.digest)
    walk([request.pk])
    certificate = Certificate.objects.get(request=request)
    by_portal = renew(certificate, authority=PORTAL, channel="schedule", begin=False)
    assert finished(by_portal).state == S.COMPLETED
    approved = AuditEvent.objects.get(subject=by_portal.request.subject, event="request:approved")
    assert (approved.data["inherited_from"], approved.data["approver"]) == (request.public_id, "veteran")
    new_policy("v2.4", max_validity={"days": 200})
    shortened = renew(by_portal.request.certificate, authority=PORTAL, channel="schedule", begin=False)
    assert finished(shortened).state == S.AWAITING_APPROVAL


def test_rejection_of_the_same_content_ends_the_approval_before_it(cast: Cast, make_spec: MakeSpec) -> None:
    """S12: else the schedule would go on with what an officer has refused since."""
    requester = cast.requester("requester")
    for decide in (approval.approve, approval.reject):
        (request,) = submit_many([make_spec("*.apps.example.com")], requester=requester)
        walk([request.pk])
        request.refresh_from_db()
        decide(request, user=cast["veteran"], digest=request.digest, comment="seen")
        walk([request.pk])
    certificate = Certificate.objects.get()
    assert finished(renew(certificate, authority=PORTAL, channel="schedule", begin=False)).state == S.AWAITING_APPROVAL


def test_approval_older_than_the_policy_allows_is_asked_for_again(cast: Cast, make_spec: MakeSpec) -> None:
    from datetime import timedelta  # noqa: PLC0415

    from certs.models import Approval  # noqa: PLC0415

    requester = cast.requester("requester")
    (request,) = submit_many([make_spec("*.apps.example.com")], requester=requester)
    walk([request.pk])
    request.refresh_from_db()
    approval.approve(request, user=cast["veteran"], digest=request.digest)
    walk([request.pk])
    first = Certificate.objects.get(request=request)
    second = renewed(first)
    for row in Approval.objects.all():
        Approval.objects.filter(pk=row.pk).update(decided_at=row.decided_at - timedelta(days=398))
    assert finished(renew(second, authority=PORTAL, channel="schedule", begin=False)).state == S.AWAITING_APPROVAL
