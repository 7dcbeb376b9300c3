"""A key that follows another: the next version of its name, or a name of its own; and what a crash in between leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from db.clock import database_now
from keys.backends.base import KeyBackend
from keys.errors import KeyBackendUnavailable, KeyMismatch
from keys.lifecycle.create import confirm_keys, make_keys
from keys.models import Key
from keys.signing import sign_message
from keys.spec import KeySpec, spki_sha256
from keys.use import private_key_for
from tests.keys.beats import claim, confirm, error_of, make, wanted
from tests.twins.keys import KeyFault, TwinKeyBackend, _generate

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def rotate_behind_our_back(twin: TwinKeyBackend, name: str, *, at: datetime | None = None) -> None:
    twin.keys[name].append((KeySpec.EC_P256, _generate(KeySpec.EC_P256), at or datetime.now(tz=UTC)))


def test_renewal_gets_the_next_version_and_both_sign(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (new,) = make(wanted("req-2", follows=old))
    assert (new.name, new.version, new.follows_id, new.state) == (old.name, 2, old.pk, Key.State.ACTIVE)
    assert len(twin.keys[old.name]) == 2
    for key in (old, new):
        assert spki_sha256(private_key_for(key).public_key()) == key.spki_sha256
    assert old.spki_sha256 != new.spki_sha256


def test_new_and_rotated_keys_stand_in_one_batch(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    keys = make(wanted("req-2", "other"), wanted("req-3", follows=old), wanted("req-4"))
    assert [(key.name, key.version) for key in keys] == [("other", 1), ("api-example-com", 2), ("api-example-com-2", 1)]


def test_claim_again_answers_the_same_row(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    assert claim(wanted("req-2", follows=old))[0].pk == claim(wanted("req-2", follows=old))[0].pk
    assert Key.objects.count() == 2


def test_two_that_follow_one_key_do_not_share_a_version(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    together = make(wanted("req-2", follows=old), wanted("req-3", follows=old))
    (later,) = make(wanted("req-4", follows=old))
    assert [(key.name, key.version) for key in [*together, later]] == [
        ("api-example-com", 2),
        ("api-example-com-2", 1),
        ("api-example-com-3", 1),
    ]


@pytest.mark.parametrize("state", [Key.State.COMPROMISED, Key.State.DESTROYED, Key.State.CLAIMED])
def test_replacement_of_a_key_that_is_not_active_has_a_new_name(twin: TwinKeyBackend, state: str) -> None:
    (old,) = make(wanted("req-1"))
    Key.objects.filter(pk=old.pk).update(state=state)
    (new,) = claim(wanted("req-2", follows=old))
    assert (new.name, new.version) == ("api-example-com-2", 1)


def test_key_of_another_type_has_a_new_name(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (new,) = make(wanted("req-2", follows=old, spec=KeySpec.ED25519))
    assert (new.name, new.version, new.follows_id) == ("api-example-com-2", 1, old.pk)


def test_backend_that_does_not_rotate_gives_a_new_name(twin: TwinKeyBackend, settings: Any, softhsm: Any) -> None:
    (old,) = make(wanted("req-1", backend="pkcs11"))
    (new,) = make(wanted("req-2", backend="pkcs11", follows=old))
    assert (new.name, new.version) == ("api-example-com-2", 1)


def test_local_key_is_rotated_under_its_name(local: KeyBackend) -> None:
    (old,) = make(wanted("req-1", backend="local"))
    (new,) = make(wanted("req-2", backend="local", follows=old))
    assert (new.name, new.version) == (old.name, 2)
    message = sign_message(private_key_for(new), b"tbs")
    assert message
    assert spki_sha256(private_key_for(old).public_key()) == old.spki_sha256 != new.spki_sha256


def test_rotation_whose_answer_was_lost_is_adopted_on_retry(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (key,) = claim(wanted("req-2", follows=old))
    twin.faults = [KeyFault.ANSWER_LOST]
    assert isinstance(error_of(key), KeyBackendUnavailable)
    (key,) = claim(wanted("req-2", follows=old))  # as the next attempt reads it
    (new,) = confirm(make_keys([key]))
    assert (new.version, len(twin.keys[old.name])) == (2, 2)


def test_version_that_was_there_before_we_looked_is_not_ours(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    rotate_behind_our_back(twin, old.name)
    (key,) = claim(wanted("req-2", follows=old))
    assert isinstance(error_of(key), KeyMismatch)
    assert len(twin.keys[old.name]) == 2


def test_version_that_is_older_than_our_look_is_not_ours(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (key,) = claim(wanted("req-2", follows=old))
    twin.faults = [KeyFault.DOWN]
    assert isinstance(error_of(key), KeyBackendUnavailable)  # looked, and noted that it was absent
    rotate_behind_our_back(twin, old.name, at=datetime.now(tz=UTC) - timedelta(hours=1))
    assert isinstance(error_of(Key.objects.get(pk=key.pk)), KeyMismatch)


def test_two_versions_too_many_fail(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (key,) = claim(wanted("req-2", follows=old))
    twin.faults = [KeyFault.ANSWER_LOST]
    error_of(key)
    rotate_behind_our_back(twin, old.name)
    assert isinstance(error_of(Key.objects.get(pk=key.pk)), KeyMismatch)


def test_rotation_of_a_key_that_was_deleted_in_the_backend_fails_alone(twin: TwinKeyBackend) -> None:
    gone, there = make(wanted("req-1", "gone"), wanted("req-2", "there"))
    del twin.keys["gone"]
    first, second = claim(wanted("req-3", follows=gone), wanted("req-4", follows=there))
    made = make_keys([first, second])
    assert [getattr(made[key.pk], "retryable", None) for key in (first, second)] == [False, None]


def test_recorded_public_key_never_changes(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    made = make_keys([key])
    twin.keys.clear()
    twin.create(key.name, KeySpec.EC_P256, key_id=key.pk)
    assert isinstance(error_of(key), KeyMismatch)  # beat 2 sees it
    key.spki_sha256 = ""
    other = make_keys([key])
    with pytest.raises(KeyMismatch), transaction.atomic():  # and beat 3, if beat 2 worked from an old row
        confirm_keys(other, now=database_now())  # type: ignore[arg-type]
    key.refresh_from_db()
    assert [key.spki_sha256] == [spki_sha256(info.public_key) for info in made.values()]  # type: ignore[union-attr]


def test_name_and_version_are_unique_in_a_backend(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    with pytest.raises(IntegrityError), transaction.atomic():
        Key.objects.create(
            backend="twin", name=key.name, version=1, spec=key.spec, purpose="leaf", claimed_for="req-2", claimed_at=database_now()
        )
