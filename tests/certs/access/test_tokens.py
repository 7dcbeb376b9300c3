"""API tokens stand for members: what ends them, and that nothing about them is remembered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from certs.access.api_tokens import MOST_DAYS, SCOPES, create_token, end_orphaned_tokens, good_token, revoke_token
from certs.errors import InputRefused, NotPermitted
from certs.models import ApiToken, Team
from tests.cast import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def token_of(cast: Cast, name: str, **more: Any) -> str:
    return create_token(
        user=cast[name], team=cast.web, name=f"t{ApiToken.objects.count()}", scopes=SCOPES, actor=cast.authority(name).actor, **more
    )[1]


def status(secret: str) -> int:
    return Client().get("/api/v1/bulk/bulk-0", headers={"Authorization": f"Bearer {secret}"}).status_code


def leaves(cast: Cast) -> None:
    cast.web.members.remove(cast["leaver"])


def leaves_from_the_other_side(cast: Cast) -> None:
    cast["leaver"].teams.clear()


def team_is_emptied(cast: Cast) -> None:
    cast.web.members.clear()


def members_are_replaced(cast: Cast) -> None:
    cast.web.members.set([cast["requester"]])


def is_deactivated(cast: Cast) -> None:
    cast["leaver"].is_active = False
    cast["leaver"].save()


def is_deactivated_past_the_orm(cast: Cast) -> None:
    get_user_model().objects.filter(pk=cast["leaver"].pk).update(is_active=False)


def membership_is_deleted_past_the_orm(cast: Cast) -> None:
    Team.members.through.objects.filter(user_id=cast["leaver"].pk).delete()


def changes_the_password(cast: Cast) -> None:
    cast["leaver"].set_password("another staple")
    cast["leaver"].save()


SEEN: list[Callable[[Cast], None]] = [
    leaves,
    leaves_from_the_other_side,
    team_is_emptied,
    members_are_replaced,
    is_deactivated,
    changes_the_password,
]
UNSEEN: list[Callable[[Cast], None]] = [is_deactivated_past_the_orm, membership_is_deleted_past_the_orm]


@pytest.mark.parametrize("act", SEEN + UNSEEN)
def test_leavers_token_opens_nothing_at_once_and_never_again(cast: Cast, act: Callable[[Cast], None]) -> None:
    """S3, S22: the token was used a moment before, so whatever a process remembers of it is fresh."""
    secret = token_of(cast, "leaver")
    assert status(secret) == 404
    act(cast)
    assert status(secret) == 401
    get_user_model().objects.filter(pk=cast["leaver"].pk).update(is_active=True)
    cast.web.members.add(cast["leaver"])
    assert status(secret) == 401


@pytest.mark.parametrize("act", SEEN)
def test_end_of_a_token_is_on_record_and_on_its_page(cast: Cast, act: Callable[[Cast], None]) -> None:
    token_of(cast, "leaver")
    act(cast)
    token = ApiToken.objects.get()
    event = AuditEvent.objects.get(event="token:revoked", subject=f"token:{token.pk}")
    assert token.revoked_at is not None
    assert event.data["because"] == token.ended_because
    get_user_model().objects.filter(pk=cast["leaver"].pk).update(is_active=True)
    client = Client()
    client.force_login(get_user_model().objects.get(username="leaver"))
    assert token.ended_because in client.get("/tokens/").content.decode()


@pytest.mark.parametrize("act", UNSEEN)
def test_sweeper_ends_tokens_of_leavers_that_nothing_saw_leave(cast: Cast, act: Callable[[Cast], None]) -> None:
    token_of(cast, "leaver")
    token_of(cast, "requester")
    act(cast)
    assert end_orphaned_tokens() == 1
    assert ApiToken.objects.filter(revoked_at=None).get().user == cast["requester"]


def test_colleagues_tokens_stay_when_somebody_leaves(cast: Cast) -> None:
    secret = token_of(cast, "colleague")
    leaves(cast)
    is_deactivated(cast)
    assert good_token(secret) is not None


def test_a_saved_name_or_a_stronger_hash_ends_no_token(cast: Cast) -> None:
    secret = token_of(cast, "requester")
    user = cast["requester"]
    user.last_name = "Married"
    user.save()
    user.password = "md5$stronger$hash"
    user.save(update_fields=["password"])  # as Django does at a sign-in
    assert good_token(secret) is not None


def test_administrators_token_ends_with_the_administrator(cast: Cast) -> None:
    """A superuser belongs to every team; without that the account is of none."""
    secret = token_of(cast, "root")
    root = cast["root"]
    root.is_superuser = False
    root.save()
    assert good_token(secret) is None
    root.is_superuser = True
    root.save()
    assert good_token(secret) is None


def test_revoked_and_expired_tokens_open_nothing_at_once(cast: Cast) -> None:
    secret, other = token_of(cast, "requester"), token_of(cast, "colleague")
    assert (status(secret), status(other)) == (404, 404)
    revoke_token(ApiToken.objects.get(user=cast["requester"]), authority=cast.authority("officer"))
    ApiToken.objects.filter(user=cast["colleague"]).update(expires_at=timezone.now())
    assert (status(secret), status(other)) == (401, 401)


def test_a_token_is_revoked_once(cast: Cast) -> None:
    token_of(cast, "requester")
    for name in ("officer", "requester"):
        revoke_token(ApiToken.objects.get(), authority=cast.authority(name))
    assert AuditEvent.objects.filter(event="token:revoked").count() == 1
    assert ApiToken.objects.get().ended_because == "officer revoked it."


@pytest.mark.parametrize("days", [-1, -0.001, MOST_DAYS + 1, 3650])
def test_a_token_has_a_bounded_life(cast: Cast, days: float) -> None:
    with pytest.raises(InputRefused, match="397"):
        token_of(cast, "requester", expires_at=timezone.now() + timedelta(days=days))


def test_a_token_without_an_end_gets_the_latest(cast: Cast) -> None:
    token_of(cast, "requester")
    token = ApiToken.objects.get()
    assert token.expires_at - token.created_at == timedelta(days=MOST_DAYS)


@pytest.mark.parametrize("name", ["outsider", "officer", "auditor"])
def test_a_token_is_made_for_members_only(cast: Cast, name: str) -> None:
    with pytest.raises(NotPermitted):
        token_of(cast, name)


def test_token_whose_name_contains_a_secret_is_not_made(cast: Cast) -> None:
    """The page reports the secret as well; no other caller can keep one by mistake."""
    authority = cast.authority("requester")
    name = "password=Sommer2026!x"
    with pytest.raises(InputRefused) as caught:
        create_token(user=cast["requester"], team=cast.web, name=name, scopes=SCOPES, actor=authority.actor)
    assert (caught.value.field, name in str(caught.value)) == ("name", False)
    assert not ApiToken.objects.exists()
