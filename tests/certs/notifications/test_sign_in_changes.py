"""A person is mailed about every change of how the account is opened."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from certs.access.sign_in.required_factors import give_time, reset_second_factors
from certs.models import OutgoingMail
from db.clock import database_now
from tests.cast import Cast
from tests.certs.views.sign_in.factors import add_app, add_recovery_codes, code, password_step
from tests.portal.fixtures import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def subjects(user: Any) -> list[str]:
    return list(OutgoingMail.objects.filter(recipient=user.email).order_by("pk").values_list("subject", flat=True))


def test_factors_added_used_up_and_reset_are_mailed(cast: Cast) -> None:
    user = cast["requester"]
    user.set_password(PASSWORD)
    user.save()
    client = Client()
    password_step(client, "requester")
    page = client.get("/account/security/app/")
    client.post("/account/security/app/", {"code": code(seed=page.context["form"].secret)})
    assert subjects(user) == ["An authenticator app was added to your account", "Recovery codes were added to your account"]
    codes = user.authenticator_set.get(type="recovery_codes").wrap().get_unused_codes()
    fresh = Client()
    password_step(fresh, "requester")
    fresh.post("/login/code/", {"code": codes[0]})
    assert subjects(user)[2:] == ["A recovery code of your account was used"]
    reset_second_factors(user, authority=cast.authority("officer"))
    assert set(subjects(user)[3:]) == {
        "An authenticator app was removed from your account",
        "Recovery codes were removed from your account",
    }
    assert "By:   officer" in OutgoingMail.objects.filter(recipient=user.email).latest("pk").body


def test_time_without_a_factor_is_mailed(cast: Cast) -> None:
    until = database_now() + timedelta(days=2)
    give_time(cast["officer"], until=until, reason="key on its way", authority=cast.authority("operator"))
    assert subjects(cast["officer"])[0].startswith("You may work without a second factor until ")


def test_a_change_in_a_shell_is_mailed_to_nobody(cast: Cast) -> None:
    add_app(cast["requester"])
    add_recovery_codes(cast["requester"])
    assert subjects(cast["requester"]) == []
