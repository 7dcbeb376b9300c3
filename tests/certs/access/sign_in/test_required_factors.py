"""A second factor that a role requires: enrolment first, time from an operator, reset by a second officer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.access.sign_in.required_factors import give_time, must_add_factor_now, reset_second_factors
from certs.access.sign_in.second_factors import remove_factor
from certs.errors import Conflict, InputRefused, NotPermitted
from db.clock import database_now
from tests.cast import Cast
from tests.certs.views.sign_in.factors import add_app, add_recovery_codes
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _required(settings: Any) -> None:
    settings.PKI_SECOND_FACTOR_ROLES = ["approver", "security officer", "operator", "administrator"]


def browser_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", ["approver", "officer", "operator", "root"])
def test_who_has_such_a_role_adds_a_factor_before_anything_else(cast: Cast, name: str) -> None:
    client = browser_of(cast[name])
    for path in ("/", "/requests/", "/tokens/", "/account/", "/admin/", "/admin/auth/user/", "/admin/password_change/"):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"]) == (302, "/account/security/"), path
    made = client.post("/tokens/", {"name": "t", "scopes": "certificates:read", "days": "9"})
    assert made["Location"] == "/account/security/"
    for path in ("/account/security/", "/account/security/app/", "/account/security/passkey/"):
        assert client.get(path).status_code == 200
    assert "Your role requires a second factor" in client.get("/account/security/").content.decode()
    add_app(cast[name])
    assert client.get("/account/").status_code == 200


def test_parts_of_a_page_lead_the_whole_page_there(cast: Cast) -> None:
    answer = browser_of(cast["officer"]).get("/requests/", headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == "/account/security/"


@pytest.mark.parametrize("name", ["requester", "auditor", "nobody"])
def test_nobody_else_is_asked(cast: Cast, name: str) -> None:
    assert browser_of(cast[name]).get("/account/").status_code == 200


def test_a_new_role_counts_at_the_next_page(cast: Cast) -> None:
    client = browser_of(cast["requester"])
    assert client.get("/account/").status_code == 200
    cast["requester"].groups.add(Group.objects.get(name="approver"))
    assert client.get("/account/")["Location"] == "/account/security/"


def test_recovery_codes_alone_are_no_factor(cast: Cast) -> None:
    add_recovery_codes(cast["officer"])
    assert must_add_factor_now(cast["officer"])


def test_it_costs_one_query_and_none_where_no_role_requires_it(
    cast: Cast, settings: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):  # one for the clock
        assert must_add_factor_now(cast["officer"])
    settings.PKI_SECOND_FACTOR_ROLES = []
    with django_assert_num_queries(0):
        assert not must_add_factor_now(cast["officer"])


def test_the_last_factor_stays_while_the_role_requires_one(cast: Cast) -> None:
    officer = cast["officer"]
    app = add_app(officer)
    page = browser_of(officer).get(f"/account/security/{app.pk}/remove/").content.decode()
    assert "Add another one first" in page
    answer = browser_of(officer).post(f"/account/security/{app.pk}/remove/")
    assert answer.status_code == 409
    assert Authenticator.objects.filter(pk=app.pk).exists()


def passkey_row(user: Any, name: str) -> Authenticator:
    """A row of a passkey, as far as removal looks at it."""
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data={"name": name})


def test_two_tabs_do_not_remove_the_last_two_factors_at_once(cast: Cast) -> None:
    officer = cast["officer"]
    keys = [passkey_row(officer, name).pk for name in ("Laptop", "Phone")]
    refused: list[int] = []

    def remove(pk: int) -> None:
        try:
            remove_factor(officer, pk, actor=cast.authority("officer").actor)
        except Conflict:
            refused.append(pk)

    threads = [in_thread(lambda pk=pk: remove(pk)) for pk in keys]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert Authenticator.objects.count() == 1


def test_an_operator_gives_time(cast: Cast) -> None:
    until = database_now() + timedelta(days=3)
    give_time(cast["officer"], until=until, reason=" The key  is on its way ", authority=cast.authority("operator"))
    assert browser_of(cast["officer"]).get("/account/").status_code == 200
    event = AuditEvent.objects.get(event="second_factor_grace:created")
    assert (event.actor_name, event.data["reason"]) == ("operator", "The key is on its way")
    later = until + timedelta(days=1)
    give_time(cast["officer"], until=later, reason="Still", authority=cast.authority("operator"))
    assert AuditEvent.objects.filter(event="second_factor_grace:changed").count() == 1


@pytest.mark.parametrize(("days", "reason"), [(15, "x"), (-1, "x"), (3, ""), (3, " "), (3, "x" * 201)])
def test_time_has_an_end_and_a_reason(cast: Cast, days: int, reason: str) -> None:
    with pytest.raises(InputRefused):
        give_time(cast["officer"], until=database_now() + timedelta(days=days), reason=reason, authority=cast.authority("operator"))


@pytest.mark.parametrize("name", ["requester", "approver", "auditor", "officer", "leaver"])
def test_only_operators_give_time(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted):
        give_time(cast["nobody"], until=database_now() + timedelta(days=1), reason="x", authority=cast.authority(name))


def test_nobody_gives_time_or_a_reset_to_the_own_account(cast: Cast) -> None:
    with pytest.raises(NotPermitted, match="own account"):
        give_time(cast["operator"], until=database_now() + timedelta(days=1), reason="x", authority=cast.authority("operator"))
    with pytest.raises(NotPermitted, match="own account"):
        reset_second_factors(cast["officer"], authority=cast.authority("officer"))


def test_a_second_officer_resets_lost_factors(cast: Cast) -> None:
    user = cast["approver"]
    add_app(user)
    add_recovery_codes(user)
    client = browser_of(user)
    assert client.get("/account/").status_code == 200
    assert reset_second_factors(user, authority=cast.authority("officer")) == 1
    assert client.get("/account/")["Location"].startswith("/login/")  # every session has ended
    events = AuditEvent.objects.filter(event="second_factor:deleted")
    assert {row.actor_name for row in events} == {"officer"}
    assert browser_of(user).get("/account/")["Location"] == "/account/security/"


@pytest.mark.parametrize("name", ["requester", "approver", "operator", "auditor"])
def test_only_officers_reset_factors(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted):
        reset_second_factors(cast["nobody"], authority=cast.authority(name))


def test_only_an_administrator_touches_the_factors_of_an_administrator(cast: Cast) -> None:
    """An officer with the stolen password of an administrator would otherwise be one."""
    root, other = cast["root"], get_user_model().objects.create_superuser("second-root", "second@example.org")
    add_app(root)
    for name in ("officer", "veteran"):
        with pytest.raises(NotPermitted, match="Only another administrator"):
            reset_second_factors(root, authority=cast.authority(name))
    with pytest.raises(NotPermitted, match="Only another administrator"):
        give_time(other, until=database_now() + timedelta(days=1), reason="x", authority=cast.authority("operator"))
    add_app(cast["officer"])
    officer, address = browser_of(cast["officer"]), f"/account/security/of/{root.pk}/"
    assert "Reset lost factors" not in officer.get(address).content.decode()
    assert officer.post(address, {"do": "reset"}).status_code == 403
    assert reset_second_factors(root, authority=Authority(Actor("user", "second-root"), other)) == 1


def test_operators_give_time_and_officers_reset_on_the_page_of_the_person(cast: Cast) -> None:
    officer, approver = cast["officer"], cast["approver"]
    add_app(officer)
    add_app(cast["operator"])
    operator = browser_of(cast["operator"])
    address = f"/account/security/of/{approver.pk}/"
    assert "can open no page" in operator.get(address).content.decode()
    refused = operator.post(address, {"do": "time", "days": "99", "reason": "x"})
    assert (refused.status_code, "at most 14 days" in refused.content.decode()) == (422, True)
    refused = operator.post(address, {"do": "time", "days": "٣", "reason": ""})
    assert refused.status_code == 422
    assert operator.post(address, {"do": "time", "days": "3", "reason": "on its way"}).status_code == 302
    assert not must_add_factor_now(approver)
    add_app(approver)
    assert operator.post(address, {"do": "reset"}).status_code == 403
    page = browser_of(officer).get(address).content.decode()
    assert "First make sure who it is" in page
    assert browser_of(officer).post(address, {"do": "reset"}).status_code == 302
    assert not Authenticator.objects.filter(user=approver).exists()
    own = browser_of(officer).get(f"/account/security/of/{officer.pk}/").content.decode()
    assert "Reset" not in own


def test_nobody_else_sees_the_factors_of_another_person(cast: Cast) -> None:
    for name in ("requester", "auditor", "nobody"):
        assert browser_of(cast[name]).get(f"/account/security/of/{cast['officer'].pk}/").status_code == 404
