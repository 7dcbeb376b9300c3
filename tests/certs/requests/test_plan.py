"""Plans: a sentence, the fields of a form and a CSR become specifications, and nothing is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.models import AuditEvent
from certs.enums import RefusalClass, RevocationReason
from certs.errors import CSRRefused, InputRefused, NotPermitted, NotUnderstood
from certs.models import CertificateRequest, Domain
from certs.requests.plan import Fields, defaults_for, describe, gate, plan_csr, plan_digest, plan_fields, plan_words
from certs.requests.submit import Requester
from certs.spec import CertificateSpec, IssuePlan, RenewPlan, RevokePlan
from db.clock import database_now
from keys.models import Key
from keys.spec import KeySpec
from policy.models import Profile
from tests.cast import Cast
from tests.certs.life import brought, new_policy
from tests.certs.x509.csr import requests as written

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "csr"
NAME = "a.example.com"
TOKEN = "hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz"


def in_days(number: int) -> date:
    return database_now().date() + timedelta(days=number)


def csr(name: str = "own.example.com") -> bytes:
    der = brought(name).csr_der
    assert der is not None
    return der


def nothing_was_made() -> bool:
    return not CertificateRequest.objects.exists() and not Key.objects.filter(purpose="leaf").exists()


# Words


def test_what_a_sentence_leaves_out_comes_from_the_team_and_the_policy(twin_portal: Requester) -> None:
    Profile.objects.create(name="another", ekus=["clientAuth"])
    new_policy("v2.4", max_validity={"days": 60})
    found = defaults_for(twin_portal.team, now=database_now())
    assert (found.domain, found.key, found.validity_days, found.profile) == ("example.com", KeySpec.RSA_3072, 60, "tls-server")
    assert (found.profiles, found.today) == (("another", "tls-server"), in_days(0))


def test_a_sentence_is_planned_with_every_assumption_named(twin_portal: Requester) -> None:
    plan = plan_words("certificate for api", requester=twin_portal)
    assert isinstance(plan, IssuePlan)
    (spec,) = plan.specs
    assert (spec.common_name, spec.key, spec.validity_days, spec.csr_der) == ("api.example.com", "rsa-3072", 90, None)
    assert len(plan.notes) >= 2
    assert any("api.example.com" in note for note in plan.notes)
    assert nothing_was_made()


def test_a_sentence_can_ask_for_the_other_workflows(twin_portal: Requester) -> None:
    assert isinstance(plan_words("renew api.example.com", requester=twin_portal), RenewPlan)
    revoking = plan_words("revoke api.example.com because superseded", requester=twin_portal)
    assert isinstance(revoking, RevokePlan)
    assert revoking.reason is RevocationReason.SUPERSEDED


def test_a_sentence_that_is_not_understood_says_where(twin_portal: Requester) -> None:
    with pytest.raises(NotUnderstood) as refused:
        plan_words("please certificate for %%%", requester=twin_portal)
    assert 0 <= refused.value.position <= len("please certificate for %%%")
    assert refused.value.next_step == f"Try: {refused.value.example}"


def test_a_plan_in_words_is_made_for_everybody(cast: Cast) -> None:
    """Who may submit it is asked when it is previewed and submitted: an officer of no team revokes in words too."""
    for name in ("officer", "outsider", "nobody"):
        plan = plan_words("certificate for api.example.com", requester=cast.requester(name))
        assert isinstance(plan, IssuePlan)
        with pytest.raises(NotPermitted):
            describe(plan, requester=cast.requester(name))


# Secrets


def ways_to_plan(text: str) -> dict[str, tuple[str, Callable[[Requester], Any]]]:
    """How to send a text into a plan, and the field that the refusal names."""
    return {
        "words": ("text", lambda r: plan_words(text, requester=r)),
        "common name": ("common_name", lambda r: plan_fields(Fields(common_name=text), requester=r)),
        "further name": ("sans", lambda r: plan_fields(Fields(sans=("a.example.com", text)), requester=r)),
        "key": ("key", lambda r: plan_fields(Fields(common_name="a.example.com", key=text), requester=r)),
        "profile": ("profile", lambda r: plan_fields(Fields(common_name="a.example.com", profile=text), requester=r)),
        "profile beside a CSR": ("profile", lambda r: plan_csr(csr(), requester=r, profile=text)),
    }


@pytest.mark.parametrize("way", ways_to_plan(""))
def test_a_secret_is_refused_and_recorded_without_its_text(cast: Cast, way: str) -> None:
    field, plan = ways_to_plan(TOKEN)[way]
    with pytest.raises(CSRRefused) as refused:
        plan(cast.requester("requester"))
    assert (refused.value.refusal, refused.value.field) == (RefusalClass.SECRET_PASTED, field)
    (event,) = AuditEvent.objects.filter(event="secret:refused")
    assert event.data["door"] == "portal"
    assert TOKEN not in f"{refused.value} {refused.value.next_step} {event.data}"
    assert nothing_was_made()


@pytest.mark.parametrize("way", ways_to_plan(""))
def test_a_secret_from_somebody_who_is_not_of_the_team_has_no_effect(cast: Cast, way: str) -> None:
    before = AuditEvent.objects.count()
    with pytest.raises(NotPermitted):
        ways_to_plan(TOKEN)[way][1](cast.requester("outsider"))
    assert AuditEvent.objects.count() == before


# A CSR


def test_a_csr_is_planned_with_its_names_its_key_and_what_was_left_out(twin_portal: Requester) -> None:
    device = written.attribute("1.2.840.113549.1.9.2", written.tlv(0x0C, b"a router"))  # unstructuredName, RFC 2985
    names = written.requested(written.san("a.example.com"))
    data = written.request(subject=(written.rdn(written.CN, b"a.example.com"),), attributes=(names, device))
    plan = plan_csr(data, requester=twin_portal)
    (spec,) = plan.specs
    assert (spec.common_name, spec.dns_names, spec.key) == ("a.example.com", ("a.example.com",), "ec-p256")
    assert (spec.csr_der, spec.spki_der, spec.profile, spec.validity_days) == (data, written.SPKI, "tls-server", 90)
    assert plan.notes[-1] == "Validity 90 days is the policy's default."
    assert any(note.startswith("Not taken over from the CSR: ") for note in plan.notes)
    assert nothing_was_made()


def test_validity_and_profile_beside_a_csr_are_taken_as_given(twin_portal: Requester) -> None:
    end = in_days(20)
    (by_days,) = plan_csr(csr(), requester=twin_portal, validity_days=7, profile="tls-client").specs
    (by_date,) = plan_csr(csr(), requester=twin_portal, not_after=end, profile="tls-client").specs
    assert (by_days.validity_days, by_days.not_after, by_days.profile) == (7, None, "tls-client")
    assert (by_date.validity_days, by_date.not_after, by_date.profile) == (None, end, "tls-client")


def test_a_challenge_password_keeps_the_bytes_of_its_csr_out_of_the_plan(twin_portal: Requester) -> None:
    password = written.attribute(written.CHALLENGE_PASSWORD, written.tlv(0x0C, b"a word that opens something"))
    names = written.requested(written.san("a.example.com"))
    data = written.request(subject=(written.rdn(written.CN, b"a.example.com"),), attributes=(names, password))
    (spec,) = plan_csr(data, requester=twin_portal).specs
    assert (spec.csr_der, spec.spki_der) == (b"", written.SPKI)


@pytest.mark.parametrize("profile", ["", "tls-server"])
@pytest.mark.parametrize("days", [-1, 36_501])
def test_days_beside_a_csr_must_be_possible(twin_portal: Requester, days: int, profile: str) -> None:
    with pytest.raises(InputRefused, match="1 to 36500 days") as refused:
        plan_csr(csr(), requester=twin_portal, validity_days=days, profile=profile)
    assert refused.value.field == "validity_days"


def test_a_refused_csr_is_one_event_of_the_team(cast: Cast) -> None:
    with pytest.raises(CSRRefused) as refused:
        plan_csr(b"not a request", requester=cast.requester("requester"))
    (event,) = AuditEvent.objects.filter(event="csr:refused")
    assert event.subject == "team:web"
    assert event.data == {"class": str(refused.value.refusal), "field": refused.value.field, "door": "portal"}


def test_a_csr_refused_for_somebody_who_is_not_of_the_team_is_no_event(cast: Cast) -> None:
    before = AuditEvent.objects.count()
    for name in ("outsider", "nobody", "officer"):
        with pytest.raises(NotPermitted):
            gate(b"not a request", requester=cast.requester(name))
    assert AuditEvent.objects.count() == before


def test_a_private_key_sent_as_a_csr_blocks_the_key_and_says_what_to_do(cast: Cast) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(CSRRefused) as refused:
        gate(pem, requester=cast.requester("requester"))
    assert (refused.value.refusal, len(refused.value.exposed_keys)) == (RefusalClass.SECRET_PASTED, 1)
    assert "make a new one" in refused.value.next_step
    assert AuditEvent.objects.filter(event="key:compromised").count() == 1
    assert not AuditEvent.objects.filter(event="csr:refused").exists()


def test_a_key_that_the_gate_refuses_is_answered_with_what_the_policy_accepts(cast: Cast) -> None:
    data = (CORPUS / "026_key_rsa1024.pem").read_bytes()
    with pytest.raises(CSRRefused) as refused:
        gate(data, requester=cast.requester("requester"))
    assert refused.value.field == "public_key"
    assert refused.value.next_step.startswith("Make a new key that the policy v2.3 accepts: ")


def test_a_domain_that_came_since_it_was_remembered_refuses_nobody(cast: Cast) -> None:
    """The gate tries the remembered domains, and then those of now."""
    team = cast.web
    team.remembered_domains = ("example.com",)
    Domain.objects.create(name="new.test", team=team)
    assert gate(csr("host.new.test"), requester=cast.requester("requester")).common_name == "host.new.test"


# Fields


def test_fields_left_empty_are_the_policys_defaults_and_said_so(twin_portal: Requester) -> None:
    plan = plan_fields(Fields(common_name="a.example.com"), requester=twin_portal)
    assert plan.specs == (CertificateSpec("a.example.com", ("a.example.com",), (), "rsa-3072", 90, "tls-server"),)
    assert plan.notes == (f"Key {KeySpec.RSA_3072.label} is the policy's default.", "Validity 90 days is the policy's default.")
    assert nothing_was_made()


def test_names_are_normal_form_once_each_and_the_common_name_is_the_first(twin_portal: Requester) -> None:
    sans = ("B.example.com", "a.EXAMPLE.com", "192.0.2.1", " ", "münchen.example.com", "192.0.2.1")
    (spec,) = plan_fields(Fields(common_name="A.example.com", sans=sans, key="ec-p256"), requester=twin_portal).specs
    assert spec.common_name == "a.example.com"
    assert spec.dns_names == ("a.example.com", "b.example.com", "xn--mnchen-3ya.example.com")
    assert spec.ip_addresses == ("192.0.2.1",)


def test_a_certificate_of_addresses_alone_has_no_common_name(twin_portal: Requester) -> None:
    (spec,) = plan_fields(Fields(sans=("192.0.2.1", "2001:db8::1")), requester=twin_portal).specs
    assert (spec.common_name, spec.dns_names, spec.ip_addresses) == ("", (), ("192.0.2.1", "2001:db8::1"))


def test_a_bare_label_is_completed_in_the_web_form_only(cast: Cast) -> None:
    plan = plan_fields(Fields(common_name="api"), requester=cast.requester("requester"))
    assert plan.specs[0].common_name == "api.example.com"
    assert "api was completed to api.example.com." in plan.notes
    for door in ("api", "command"):
        plan = plan_fields(Fields(common_name="api"), requester=cast.requester("requester", channel=door))
        assert (plan.specs[0].common_name, len(plan.notes)) == ("api", 2)
        assert describe(plan, requester=cast.requester("requester"))["decision"] == "deny"


REFUSED: dict[str, tuple[Callable[[], Fields], str, str]] = {
    # fields, the field that is named, and a part of the message
    "no name": (Fields, "common_name", "at least one name"),
    "spaces only": (lambda: Fields("  ", sans=(" ",)), "common_name", "at least one name"),
    "no such key": (lambda: Fields(NAME, key="dsa-1024"), "key", "no key type 'dsa-1024'"),
    "bad common name": (lambda: Fields("a_b!.example.com"), "common_name", ""),
    "bad further name": (lambda: Fields(NAME, sans=("-a.example.com",)), "sans", ""),
    "too many days": (lambda: Fields(NAME, validity_days=36_501), "validity_days", "1 to 36500 days"),
    "negative days": (lambda: Fields(NAME, validity_days=-1), "validity_days", "1 to 36500 days"),
    "end date today": (lambda: Fields(NAME, not_after=in_days(0)), "not_after", "not in the future"),
    "end date in 200 years": (lambda: Fields(NAME, not_after=in_days(73_000)), "not_after", "more than 36500 days"),
    "days and an end date": (lambda: Fields(NAME, validity_days=5, not_after=in_days(5)), "not_after", "a number of days or an end date"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_field_that_cannot_be_accepted_is_named_with_what_would_pass(twin_portal: Requester, case: str) -> None:
    fields, field, message = REFUSED[case]
    with pytest.raises(InputRefused) as refused:
        plan_fields(fields(), requester=twin_portal)
    assert (refused.value.field, message in refused.value.message) == (field, True)
    assert refused.value.next_step
    assert nothing_was_made()


def test_more_names_than_a_certificate_may_have_are_refused(twin_portal: Requester, settings: Any) -> None:
    settings.PKI_MAX_NAMES = 3
    names = tuple(f"h{number}.example.com" for number in range(3))
    assert len(plan_fields(Fields(sans=names), requester=twin_portal).specs[0].dns_names) == 3
    with pytest.raises(InputRefused, match="4 names are more than 3") as refused:
        plan_fields(Fields(sans=(*names, "192.0.2.1")), requester=twin_portal)
    assert refused.value.field == "sans"


@pytest.mark.parametrize("name", ["outsider", "nobody", "officer", "auditor"])
def test_fields_are_planned_for_members_of_the_team_alone(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted, match="not a member of team web") as refused:
        plan_fields(Fields(common_name="a.example.com"), requester=cast.requester(name))
    assert refused.value.field == "team"


def test_a_member_who_left_plans_nothing_any_more(cast: Cast) -> None:
    leaver = cast.requester("leaver")
    assert plan_fields(Fields(common_name="a.example.com"), requester=leaver).specs
    cast["leaver"].is_active = False
    cast["leaver"].save()
    with pytest.raises(NotPermitted):
        plan_fields(Fields(common_name="a.example.com"), requester=leaver)


# What is shown before anybody confirms


def test_a_described_plan_shows_every_certificate_and_the_decision_over_all(twin_portal: Requester, make_spec: MakeSpec) -> None:
    end = in_days(9)
    plan = IssuePlan((make_spec("a.example.com"), make_spec("b.example.com", until=end)), ("Read so.",))
    shown = describe(plan, requester=twin_portal)
    assert (shown["success"], shown["decision"], shown["policy_version"], shown["suggestion"]) == (True, "allow", "v2.3", None)
    assert shown["notes"][0] == "Read so."
    first, second = shown["plan"]
    assert first == {
        "common_name": "a.example.com",
        "sans": ["a.example.com"],
        "key": "ec-p256",
        "validity_days": 90,
        "not_after": None,
        "expires_at": first["expires_at"],
        "profile": "tls-server",
    }
    assert (second["validity_days"], second["not_after"]) == (None, end.isoformat())
    assert all(check["passed"] for checks in shown["checks"] for check in checks)
    assert nothing_was_made()


def test_the_decision_over_a_plan_is_its_worst(twin_portal: Requester, make_spec: MakeSpec) -> None:
    good, wildcard, foreign = make_spec(), make_spec("*.apps.example.com"), make_spec("a.elsewhere.test")

    def decision(*specs: CertificateSpec) -> str:
        return str(describe(IssuePlan(specs), requester=twin_portal)["decision"])

    assert decision(good) == "allow"
    assert decision(good, wildcard) == "needs_approval"
    assert decision(good, wildcard, foreign) == "deny"


def test_a_suggestion_is_the_first_change_that_would_pass(twin_portal: Requester, make_spec: MakeSpec) -> None:
    shown = describe(IssuePlan((make_spec(), make_spec("b.example.com", days=400))), requester=twin_portal)
    assert (shown["decision"], shown["suggestion"]) == ("deny", "Use validity ≤ 397 days")


def test_a_plan_has_another_digest_with_any_other_content(make_spec: MakeSpec) -> None:
    spec = make_spec()
    others: tuple[list[CertificateSpec], ...] = (
        [make_spec("b.example.com")],
        [make_spec(days=91)],
        [make_spec(key="ec-p384")],
        [make_spec(profile="tls-client")],
        [make_spec(until=date(2031, 1, 1))],
        [spec, spec],
        [],
    )
    assert plan_digest([spec]) == plan_digest((make_spec(),))
    assert len({plan_digest(specs) for specs in ([spec], *others)}) == len(others) + 1
