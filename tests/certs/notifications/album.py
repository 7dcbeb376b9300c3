"""Every mail that the portal writes, made by the use cases that write it: for tests of words and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import Group
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.db import transaction

from audit.changes import attribute
from audit.log import Actor
from certs.access.api_tokens import create_token
from certs.access.permissions import Authority
from certs.acts.control import digest_of, submit_act
from certs.acts.drafting import choose_options, draft_act
from certs.acts.work import work_on as work_on_act
from certs.bulk.drafting.draft import draft
from certs.bulk.submit import submit_order
from certs.enums import AlertKind
from certs.enums import RevocationReason as R
from certs.installation.still_old import notify_owners
from certs.models import (
    ApiToken,
    ApprovalLimit,
    Certificate,
    CertificateRequest,
    DigestEntry,
    Domain,
    InstalledPlace,
    Issuer,
    OutgoingMail,
    PlaceOutcome,
    Team,
    TrustSubscription,
    Webhook,
)
from certs.notifications import webhooks
from certs.notifications.alerts import ca_cause, close_alerts, notify_ends, raise_alert
from certs.notifications.delivery.bundling import write_bundles
from certs.notifications.delivery.deliver import deliver_due
from certs.notifications.delivery.password_reset import send_reset
from certs.notifications.digests import note_for_digest
from certs.notifications.token_ends import notify_ending
from certs.notifications.topics import Topic
from certs.people.handing_over import hand_over_chosen
from certs.people.invitations import invite
from certs.people.joining import accept, ask_to_join, decline
from certs.renewal import expiry
from certs.replay.announcing import publish_and_announce
from certs.replay.jobs import begin_replay, work_on
from certs.replay.waiver_ends import announce_ending_waivers
from certs.reports.keeping import keep_report, write_mails
from certs.reports.weeks import Week
from certs.requests.approvals.approval import approve, reject
from certs.requests.approvals.deputies import name_deputy
from certs.requests.approvals.questions import answer, ask_back
from certs.requests.approvals.time_limit import let_lapse, remind, remind_due
from certs.requests.domains.domain_requests import ask_for_domain, grant_domain, refuse_domain
from certs.requests.submit import submit
from certs.revocation.revoke import revoke
from certs.trust import subscriptions
from certs.trust.roots import roots
from certs.uploads.line import Line
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import version_in_force
from policy.waivers.deciding import approve_waiver, request_waiver
from tests.cast import person
from tests.certs.bulk.orders import work_off_all
from tests.certs.life import brought, issued, new_policy, renewed, walk, years_later
from tests.certs.notifications.album_people import CAROL, Cast, compose, waiting
from tests.certs.notifications.receivers import receiving


def pictures(cast: Cast) -> Iterator[tuple[str, list[OutgoingMail]]]:
    """Yield the name of each scene with the mails that it wrote."""
    for scene in SCENES:
        OutgoingMail.objects.all().delete()
        scene(cast)
        mails = list(OutgoingMail.objects.order_by("pk"))
        yield scene.__name__, mails


def a_request_waits(cast: Cast) -> None:
    waiting(cast, "*.shop.example.com")


def it_is_approved(cast: Cast) -> None:
    request = CertificateRequest.objects.get(common_name="*.shop.example.com")
    approve(request, user=cast.carol, digest=request.digest)
    walk([request.pk])


def it_is_refused(cast: Cast) -> None:
    request = waiting(cast, "*.pay.example.com")
    reject(request, user=cast.carol, digest=request.digest, comment="Use single names: each payment service has its own.")


def an_approver_asks_back(cast: Cast) -> None:
    request = waiting(cast, "*.ask.example.com")
    ask_back(request, user=cast.carol, question="Which servers use the wildcard?")
    answer(request, authority=cast.requester.authority, text="The two load balancers of the shop.")


def approvers_are_reminded(cast: Cast) -> None:
    remind(waiting(cast, "*.late.example.com"), authority=cast.requester.authority)
    forgotten = waiting(cast, "*.forgotten.example.com")
    ApprovalLimit.objects.filter(pk=forgotten.pk).update(remind_at=database_now() - timedelta(hours=1))
    remind_due()


def a_request_lapses(cast: Cast) -> None:
    request = CertificateRequest.objects.get(common_name="*.forgotten.example.com")
    ApprovalLimit.objects.filter(pk=request.pk).update(lapses_at=database_now() - timedelta(hours=1))
    let_lapse()


def it_fails(cast: Cast) -> None:
    cast.twin_ca.refuses = ("ca_refused", "The CA does not issue for this profile.")
    request = submit(cast.make_spec("new.example.com"), requester=cast.requester)
    walk([request.pk])
    cast.twin_ca.refuses = None


def many_fail_together(cast: Cast) -> None:
    cast.twin_ca.refuses = ("ca_refused", "The CA does not issue for this profile.")
    for number in range(12):
        walk([submit(cast.make_spec(f"api-{number}.shop.example.com"), requester=cast.requester).pk])
    cast.twin_ca.refuses = None
    OutgoingMail.objects.update(not_before=database_now())
    write_bundles()
    OutgoingMail.objects.filter(bundled_into__isnull=False).delete()


def one_is_issued(cast: Cast) -> None:
    DigestEntry.objects.all().delete()
    issued(cast.make_spec("shop.example.com"), cast.requester)
    compose()


def some_are_renewed(cast: Cast) -> None:
    first = years_later(Certificate.objects.get(common_name="shop.example.com"), days_left=28)
    second = years_later(issued(cast.make_spec("www.example.com"), cast.requester), days_left=12)
    new = [renewed(first), renewed(second)]
    DigestEntry.objects.all().delete()
    with transaction.atomic():
        note_for_digest(Topic.RENEWED, new, now=database_now())
    compose()


def one_is_revoked(cast: Cast) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issued(brought("stolen.example.com", key=key), cast.requester)
    issued(brought("twin.example.com", key=key), cast.requester)
    DigestEntry.objects.all().delete()
    revoke(certificate, reason=R.KEY_COMPROMISE, authority=Authority(CAROL, cast.carol), only=(), begin=False)
    compose()


def one_is_on_hold(cast: Cast) -> None:
    certificate = issued(cast.make_spec("held.example.com"), cast.requester)
    DigestEntry.objects.all().delete()
    revoke(certificate, reason=R.CERTIFICATE_HOLD, authority=Authority(CAROL, cast.carol), begin=False)
    compose()


def one_needs_a_new_csr(cast: Cast) -> None:
    years_later(issued(brought("single.example.com"), cast.requester), days_left=20)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    expiry.check_expiry(begin=False)


def some_cannot_be_renewed(cast: Cast) -> None:
    years_later(issued(brought("own.example.com"), cast.requester), days_left=20)
    years_later(issued(cast.make_spec("api.example.com"), cast.requester), days_left=25)
    new_policy("v2.5", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384], "ed25519": True}, key_reuse_at_renewal={"allowed": False})
    expiry.check_expiry(begin=False)


def a_renewal_failed(cast: Cast) -> None:
    certificate = years_later(issued(cast.make_spec("failing.example.com", key="ed25519"), cast.requester), days_left=15)
    OutgoingMail.objects.all().delete()
    cast.twin_ca.refuses = ("ca_refused", "The CA does not issue for this profile.")
    done = expiry.check_expiry(begin=False)
    walk([one.request.pk for one in done.renewed if one.plan.certificate == certificate])
    cast.twin_ca.refuses = None
    expiry.check_expiry(begin=False)


def renewals_wait_for_approval(cast: Cast) -> None:
    for name in ("*.a.example.com", "*.b.example.com"):
        request = submit(cast.make_spec(name, key="ed25519", days=300), requester=cast.requester)
        walk([request.pk])
        request.refresh_from_db()
        approve(request, user=cast.carol, digest=request.digest)
        walk([request.pk])
        years_later(Certificate.objects.get(request=request), days_left=40)
    OutgoingMail.objects.all().delete()
    new_policy("v2.6", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384], "ed25519": True}, max_validity={"days": 200})
    expiry.check_expiry(begin=False)


def reminders_are_due(cast: Cast) -> None:
    Certificate.objects.filter(common_name__in=("own.example.com", "api.example.com")).update(renewal_off_reason="The service moves.")
    years_later(Certificate.objects.get(common_name="own.example.com"), days_left=3)
    years_later(Certificate.objects.get(common_name="api.example.com"), days_left=6)
    years_later(Certificate.objects.get(common_name="single.example.com"), days_left=2)
    expiry.check_expiry(begin=False)


def one_expired(cast: Cast) -> None:
    OutgoingMail.objects.all().delete()
    years_later(Certificate.objects.get(common_name="single.example.com"), days_left=-1)
    expiry.check_expiry(begin=False)


def a_bulk_order_waits_and_another_ends(cast: Cast) -> None:
    lines = [Line(1, "row 1", cast.make_spec("*.x.example.com", key="ed25519"))]
    submit_order(draft(lines, requester=cast.requester, title="Wildcards of the shop"), authority=cast.requester.authority)
    lines = [Line(n, f"row {n}", cast.make_spec(f"host-{n}.example.com", key="ed25519")) for n in (1, 2)]
    submit_order(draft(lines, requester=cast.requester, title="Migration, part 2"), authority=cast.requester.authority)
    work_off_all()


def rights_change(cast: Cast) -> None:
    with transaction.atomic():
        attribute(cast.alice, CAROL)
        cast.alice.groups.add(Group.objects.get(name="approver"))
        other = Team.objects.create(slug="pay", name="Payments")
        domain = Domain(name="pay.example.com", team=other)
        attribute(domain, CAROL)
        domain.save()


def an_act_ends(cast: Cast) -> None:
    authority = cast.requester.authority
    living = Certificate.objects.filter(team=cast.team, status=Certificate.Status.GOOD)
    chosen = [row.cert_id for row in living.order_by("pk")[:3]]
    act = draft_act("add_tag", authority=authority, chosen=chosen)
    act = choose_options(act, {"tag": "shop"}, authority=authority)
    submit_act(act, authority=authority, shown=digest_of(act), typed="")
    # Another team's since the preview: refused when its turn comes.
    moved = Certificate.objects.filter(cert_id=chosen[0])
    moved.update(team=Team.objects.get(slug="pay"))
    work_on_act(act.pk)
    moved.update(team=cast.team)


def a_deputy_is_named(cast: Cast) -> None:
    until = database_now().date() + timedelta(days=9)
    name_deputy(cast.carol, username="alice", until=until.isoformat())


def domains_are_asked_for_and_decided(cast: Cast) -> None:
    granted = ask_for_domain("shop.example.net", why="The shop moves there.", requester=cast.requester)
    grant_domain(granted, user=cast.carol, owner="")
    refused = ask_for_domain("refunds.pay.example.com", why="Refunds are ours.", requester=cast.requester)
    refuse_domain(refused, user=cast.carol, comment="Team Payments runs it.")


def people_are_invited_and_ask_to_join(cast: Cast) -> None:
    invite("dan@example.com", team=cast.team, as_lead=True, role=None, days=7, authority=Authority(CAROL, cast.carol))
    erin = person("erin", email="erin@example.com")
    asks, why = Authority(Actor("user", "erin"), erin), "I run the servers of the shop."
    accept(ask_to_join(cast.team.slug, why=why, authority=asks), authority=Authority(CAROL, cast.carol))
    other = ask_to_join("pay", why=why, authority=asks)
    decline(other, answer="Payments has servers of its own.", authority=Authority(CAROL, cast.carol))


def certificates_get_another_owner(cast: Cast) -> None:
    owned = Certificate.objects.filter(common_name__in=("host-1.example.com", "host-2.example.com"), owner=cast.alice)
    chosen, authority = [row.cert_id for row in owned], Authority(Actor("user", "alice"), cast.alice)
    hand_over_chosen(cast.alice, chosen, owner="erin", authority=authority)


def a_password_is_forgotten(cast: Cast) -> None:
    cast.alice.set_password("the old one, which is forgotten")
    cast.alice.save()
    OutgoingMail.objects.all().delete()
    mail.outbox.clear()
    send_reset(cast.alice.pk)
    (sent,) = mail.outbox
    assert isinstance(sent, EmailMultiAlternatives)
    # The portal keeps no row of this mail; the album does, to look at it as at the others.
    now, ((html, _),) = database_now(), sent.alternatives
    OutgoingMail.objects.create(
        topic=Topic.POWER,
        recipient=sent.to[0],
        subject=str(sent.subject),
        body=str(sent.body),
        html=str(html),
        written_at=now,
        not_before=now,
    )


def a_webhook_is_added_and_fails(cast: Cast) -> None:
    authority = Authority(Actor("user", "alice"), cast.alice)
    with receiving() as receiver:
        receiver.status = 410
        hook = webhooks.add_webhook(cast.team, name="chat", url=receiver.url, topics=(Topic.RENEWED,), authority=authority)
        webhooks.send_test(hook, authority=authority)
        deliver_due()
    assert Webhook.objects.get().disabled_at is not None


def a_ca_is_down_and_back(cast: Cast) -> None:
    now, issuer = database_now(), Issuer.objects.get()
    with transaction.atomic():
        raise_alert(
            kind=AlertKind.CA_UNAVAILABLE,
            cause=ca_cause(issuer),
            message=f"{issuer.name} is unavailable: connection refused. 12 requests wait.",
            next_step="Repair the CA. Requests go on automatically.",
            now=now,
        )
    close_alerts(kind=AlertKind.CA_UNAVAILABLE, cause=ca_cause(issuer), now=now + timedelta(minutes=25))
    notify_ends(now + timedelta(minutes=36))


def an_old_certificate_is_still_served(cast: Cast) -> None:
    new = Certificate.objects.filter(common_name="shop.example.com", renewed_from__isnull=False).get()
    Certificate.objects.filter(pk=new.pk).update(issued_at=database_now() - timedelta(days=4))
    now = database_now()
    InstalledPlace.objects.create(
        certificate=new, host="shop.example.com", port=443, asked_at=now, seen_at=now, outcome=PlaceOutcome.OLD, served=new.renewed_from
    )
    notify_owners(now)


def a_token_ends(cast: Cast) -> None:
    scopes = ["certificates:read"]
    token, _ = create_token(user=cast.alice, team=cast.team, name="deploy", scopes=scopes, actor=CAROL)
    ApiToken.objects.filter(pk=token.pk).update(
        created_at=database_now() - timedelta(days=80), expires_at=database_now() + timedelta(days=10)
    )
    OutgoingMail.objects.all().delete()
    notify_ending()


def the_policy_changes_and_a_waiver_ends(cast: Cast) -> None:
    officers = [person(name, "security officer", email=f"{name}@example.org") for name in ("olga", "piet")]
    now = database_now()
    data = DEFAULT_V2_3 | {
        "version": "v8",
        "defaults": DEFAULT_V2_3["defaults"] | {"validity_days": 20},
        "rules": DEFAULT_V2_3["rules"] | {"max_validity": {"days": 20}},
    }
    drafted = draft_version("default", data, actor=Actor("user", "olga"), now=now)
    replay = begin_replay(drafted, starts=now, days_back=1, asked_by="olga")
    work_on(replay.pk)
    replay.refresh_from_db()
    publish_and_announce(drafted, replay=replay, before=version_in_force("default", now), user=officers[1], now=database_now())
    waiver = request_waiver(
        "default",
        rule="max_names",
        params={"maximum": 150},
        names=[],
        teams=[cast.team.slug],
        reason="A gateway with many names.",
        begins=now,
        ends=now + timedelta(days=9),
        user=officers[0],
        now=now,
    )
    approve_waiver(waiver, user=officers[1], now=database_now())
    announce_ending_waivers()


def the_roots_change_and_end(cast: Cast) -> None:
    now, (root, *_) = database_now(), roots()
    row = subscriptions.subscribe(cast.alice, now=now)
    subscriptions.confirm(row, now=now)
    TrustSubscription.objects.update(told="of another root")
    subscriptions.notify_changes()
    with pytest.MonkeyPatch.context() as later:
        later.setattr(subscriptions, "database_now", lambda: root.not_after - timedelta(days=29))
        subscriptions.notify_changes()


def the_report_of_a_week(_cast: Cast) -> None:
    now = database_now()
    row = keep_report(Week.of(now))
    with transaction.atomic():
        write_mails(row, key="report:album", now=now)


SCENES: Sequence[Callable[[Cast], None]] = (
    a_request_waits,
    it_is_approved,
    it_is_refused,
    an_approver_asks_back,
    approvers_are_reminded,
    a_request_lapses,
    it_fails,
    many_fail_together,
    one_is_issued,
    some_are_renewed,
    one_is_revoked,
    one_is_on_hold,
    one_needs_a_new_csr,
    some_cannot_be_renewed,
    a_renewal_failed,
    renewals_wait_for_approval,
    reminders_are_due,
    one_expired,
    a_bulk_order_waits_and_another_ends,
    rights_change,
    an_act_ends,
    a_deputy_is_named,
    domains_are_asked_for_and_decided,
    people_are_invited_and_ask_to_join,
    certificates_get_another_owner,
    a_password_is_forgotten,
    a_webhook_is_added_and_fails,
    a_ca_is_down_and_back,
    an_old_certificate_is_still_served,
    a_token_ends,
    the_policy_changes_and_a_waiver_ends,
    the_roots_change_and_end,
    the_report_of_a_week,
)
