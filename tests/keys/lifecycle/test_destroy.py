"""How keys end: the intent, the deed, the receipt; what must not be destroyed; what a crash or a late worker leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import transaction

from audit.log import Actor
from audit.models import AuditEvent
from db.clock import database_now
from keys.backends.base import KeyBackend, KeyRef
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyNotFound, KeyOperationRefused
from keys.lifecycle import destroy as destruction
from keys.lifecycle.create import make_keys
from keys.lifecycle.destroy import confirm_destroyed, destroy_key, destroy_made, finish_destructions, intend_destruction, open_destructions
from keys.models import Key
from keys.registry import get_key_backend
from keys.spec import KeySpec
from keys.use import private_key_for, ref_of, sign_many_with
from tests.keys.beats import claim, confirm, error_of, make, wanted
from tests.twins.keys import TwinKeyBackend

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
OFFICER = Actor("user", "officer")


def intend(*keys: Key, certificates: dict[UUID, Sequence[str]] | None = None) -> dict[UUID, Key | KeyBackendError]:
    with transaction.atomic():
        return intend_destruction(
            [key.pk for key in keys], reason="keyCompromise", certificates=certificates or {}, actor=OFFICER, now=database_now()
        )


def begin(*keys: Key) -> list[Key]:
    answers = intend(*keys).values()
    assert [one for one in answers if not isinstance(one, Key)] == []
    return [one for one in answers if isinstance(one, Key)]


def finish(keys: Sequence[Key]) -> list[Key]:
    done = destroy_made(keys)
    with transaction.atomic():
        return confirm_destroyed([key for key in keys if done[key.pk] is None], now=database_now())


def receipts() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(event="key:destroyed").order_by("id"))


def test_destroyed_key_leaves_a_receipt(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    done = destroy_key(key.pk, reason="keyCompromise", certificates=["cert-2", "cert-1"], actor=OFFICER)
    assert done is not None
    assert (done.state, done.destroyed_at is not None, twin.keys) == (Key.State.DESTROYED, True, {})
    (receipt,) = receipts()
    assert (receipt.subject, receipt.actor_kind, receipt.actor_name) == (f"key:{key.pk}", "user", "officer")
    data = receipt.data
    assert {name: data[name] for name in ("backend", "key", "version", "spki_sha256", "reason", "certificates", "certificates_count")} == {
        "backend": "twin",
        "key": "twin/keys/api-example-com",
        "version": 1,
        "spki_sha256": key.spki_sha256,
        "reason": "keyCompromise",
        "certificates": ["cert-1", "cert-2"],
        "certificates_count": 2,
    }


def test_key_that_served_hundreds_of_certificates_still_gets_its_receipt(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    served = [f"cert-20250118143215-{n:05}" for n in range(400)]
    destroy_key(key.pk, reason="keyCompromise", certificates=served, actor=OFFICER)
    (receipt,) = receipts()
    assert (len(receipt.data["certificates"]), receipt.data["certificates_count"]) == (30, 400)


def test_destroying_again_is_nothing_and_leaves_no_second_receipt(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    assert destroy_key(key.pk, reason="keyCompromise", certificates=[], actor=OFFICER) is not None
    assert destroy_key(key.pk, reason="keyCompromise", certificates=[], actor=OFFICER) is None
    assert len(receipts()) == 1


def test_key_that_nobody_knows_is_not_found(db: None) -> None:
    with pytest.raises(KeyNotFound):
        destroy_key(uuid4(), reason="keyCompromise", certificates=[], actor=OFFICER)


def test_destroyed_name_is_never_claimed_again(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    destroy_key(key.pk, reason="keyCompromise", certificates=[], actor=OFFICER)
    (new,) = make(wanted("req-2"))
    assert new.name == "api-example-com-2"


@pytest.mark.parametrize("use", [private_key_for, lambda key: sign_many_with(key, [b"tbs"])], ids=["private_key_for", "sign_many_with"])
def test_nothing_is_signed_from_the_intent_on(twin: TwinKeyBackend, use: Callable[[Key], Any]) -> None:
    (key,) = make(wanted("req-1"))
    begin(key)
    with pytest.raises(KeyOperationRefused, match="destroying"):
        use(key)  # with a row that was read before
    finish(list(open_destructions()))
    with pytest.raises(KeyNotFound):
        use(key)


def test_name_with_another_version_alive_is_not_destroyed(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (new,) = make(wanted("req-2", follows=old))
    for key in (old, new):
        refusal = intend(key)[key.pk]
        assert isinstance(refusal, KeyOperationRefused)
        assert "Another version" in str(refusal)
    assert set(Key.objects.values_list("state", flat=True)) == {Key.State.ACTIVE}
    assert len(twin.keys[old.name]) == 2


def test_all_versions_of_a_name_are_destroyed_together(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    (new,) = make(wanted("req-2", follows=old))
    assert {key.version for key in finish(begin(old, new))} == {1, 2}
    assert (twin.keys, len(receipts())) == ({}, 2)


def test_refused_key_does_not_stop_the_others(twin: TwinKeyBackend) -> None:
    (old,) = make(wanted("req-1"))
    make(wanted("req-2", follows=old))
    (other,) = make(wanted("req-3", "other"))
    answers = intend(old, other)
    assert [type(answers[key.pk]) for key in (old, other)] == [KeyOperationRefused, Key]


def test_key_of_a_ca_is_not_destroyed_from_here(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("ca:x", purpose="ca"))
    assert isinstance(intend(key)[key.pk], KeyOperationRefused)
    assert "api-example-com" in twin.keys


def test_sealed_backend_leaves_the_intent_standing(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    twin.reachable = False
    with pytest.raises(KeyBackendUnavailable):
        destroy_key(key.pk, reason="keyCompromise", certificates=["cert-1"], actor=OFFICER)
    assert [one.pk for one in list(open_destructions())] == [key.pk]
    twin.reachable = True
    finish(list(open_destructions()))
    assert (twin.keys, receipts()[0].data["certificates"]) == ({}, ["cert-1"])


def test_crash_after_the_deed_is_made_good_by_repeating_it(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    destroy_made(begin(key))  # and no beat 3
    assert [one.pk for one in finish(list(open_destructions()))] == [key.pk]
    assert len(receipts()) == 1


def test_two_that_confirm_leave_one_receipt(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("req-1"))
    begun = begin(key)
    assert (len(finish(begun)), len(finish(begun))) == (1, 0)
    assert len(receipts()) == 1


def test_claim_that_never_asked_the_backend_destroys_nothing_there(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    twin.create(key.name, KeySpec.EC_P256, key_id=uuid4())  # someone else's, under the name that we only claimed
    assert [one.state for one in finish(begin(key))] == [Key.State.DESTROYED]
    assert list(twin.keys) == [key.name]


def test_key_made_and_never_recorded_is_destroyed(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    make_keys([key])  # the worker dies before beat 3, and the request is cancelled
    finish(begin(key))
    assert twin.keys == {}


def test_none_is_made_under_a_destroyed_claim(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    finish(begin(key))
    assert isinstance(error_of(key), KeyOperationRefused)
    assert twin.keys == {}


def test_worker_that_makes_a_key_after_it_was_destroyed_leaves_it_to_be_destroyed_again(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    twin.meanwhile = [lambda: finish(begin(key))]
    assert isinstance(error_of(key), KeyOperationRefused)
    assert list(twin.keys) == [key.name]
    finish(list(open_destructions()))
    assert (twin.keys, Key.objects.get().state) == ({}, Key.State.DESTROYED)


def test_worker_that_makes_a_key_between_the_deed_and_its_confirmation_is_seen(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    begun: list[Key] = []

    def deed() -> None:
        begun.extend(begin(key))
        destroy_made(begun)

    twin.meanwhile = [deed]
    error_of(key)
    with transaction.atomic():
        assert confirm_destroyed(begun, now=database_now()) == []
    finish(list(open_destructions()))
    assert twin.keys == {}


def test_compromised_key_signs_a_revocation_status_and_nothing_else(twin: TwinKeyBackend) -> None:
    (key,) = make(wanted("ca:x", purpose="ca"))
    Key.objects.filter(pk=key.pk).update(state=Key.State.COMPROMISED)
    with pytest.raises(KeyOperationRefused, match="compromised"):
        private_key_for(key)
    assert sign_many_with(key, [b"crl"], for_status=True) != []


def test_claimed_key_signs_nothing(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    make_keys([key])
    with pytest.raises(KeyOperationRefused, match="claimed"):
        private_key_for(key)


def test_local_key_is_dropped_from_memory_when_its_state_changes(local: KeyBackend) -> None:
    (key,) = make(wanted("req-1", backend="local"))
    backend: Any = local
    private_key_for(key)
    assert (key.pk, 1) in backend.loaded
    Key.objects.filter(pk=key.pk).update(state=Key.State.COMPROMISED)
    with pytest.raises(KeyOperationRefused):
        private_key_for(key)
    assert (key.pk, 1) not in backend.loaded


def test_vault_key_that_was_made_exportable_is_destroyed(
    settings: Any, vault_client: Any, vault_mount: Callable[[str], str], db: None
) -> None:
    mount = vault_mount("transit")
    options = {**settings.KEY_BACKENDS["vault"]["OPTIONS"], "mount": mount}
    settings.KEY_BACKENDS = {**settings.KEY_BACKENDS, "vault": {**settings.KEY_BACKENDS["vault"], "OPTIONS": options}}
    (key,) = make(wanted("req-1", backend="vault"))
    vault_client.secrets.transit.update_key_configuration(key.name, exportable=True, mount_point=mount)
    assert destroy_key(key.pk, reason="keyCompromise", certificates=[], actor=OFFICER) is not None
    assert get_key_backend("vault").exists(key.name) is False  # type: ignore[attr-defined]
    get_key_backend("vault").destroy(ref_of(key))  # again is success


def test_confirmed_claim_of_a_late_worker_stays_destroyed(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("req-1"))
    made = make_keys([key])
    begin(key)
    confirm(made)
    assert Key.objects.get().state == Key.State.DESTROYING
    finish(list(open_destructions()))
    assert (Key.objects.get().state, twin.keys) == (Key.State.DESTROYED, {})


def run_command(*arguments: str) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        call_command("destroy_keys", *arguments, stdout=out)
    except SystemExit as exc:
        code = int(exc.code or 0)
    return code, out.getvalue()


def test_command_destroys_what_stands_and_says_what_it_could_not(twin: TwinKeyBackend) -> None:
    assert run_command() == (0, "nothing is to be destroyed\n")
    begin(*make(wanted("req-1")))
    twin.reachable = False
    code, said = run_command("--json")
    answer = json.loads(said)
    assert (code, answer["success"], answer["standing"], list(answer["failed"])) == (1, False, 1, ["twin/keys/api-example-com version 1"])
    twin.reachable = True
    assert run_command() == (0, "destroyed twin/keys/api-example-com version 1\n")
    assert (twin.keys, len(receipts())) == ({}, 1)


def refusing(twin: TwinKeyBackend, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The backend does not permit it for these, whatever is tried."""
    destroy = twin.destroy

    def refuse(ref: KeyRef) -> None:
        if ref.name in names:
            raise KeyOperationRefused("not permitted")
        destroy(ref)

    monkeypatch.setattr(twin, "destroy", refuse)


def test_key_that_cannot_be_destroyed_is_in_nobodys_way(twin: TwinKeyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keys.lifecycle.destroy.PAGE", 2)
    keys = begin(*make(*[wanted(f"req-{number}", f"name-{number}") for number in range(7)]))
    stuck = {key.name for key in sorted(keys, key=lambda key: key.pk)[:3]}
    refusing(twin, monkeypatch, *stuck)
    done = finish_destructions()
    assert {key.name for key in keys if done[key.pk] is None} == {key.name for key in keys} - stuck
    assert set(twin.keys) == stuck


def test_backend_that_does_not_answer_is_asked_once_a_run(twin: TwinKeyBackend, local: KeyBackend) -> None:
    of_twin = begin(*make(*[wanted(f"req-{number}", f"name-{number}") for number in range(4)]))
    (other,) = begin(*make(wanted("req-local", backend="local")))
    twin.reachable = False
    done = finish_destructions()
    assert done.pop(other.pk) is None
    assert len(done) == 1
    assert set(done) < {key.pk for key in of_twin}


def test_run_that_is_out_of_time_begins_somewhere_else_the_next_time(twin: TwinKeyBackend) -> None:
    begin(*make(*[wanted(f"req-{number}", f"name-{number}") for number in range(3)]))
    assert finish_destructions(most_seconds=0) == {}
    firsts = {next(destruction.open_destructions()).pk for _ in range(60)}
    assert len(firsts) > 1
