"""Names of keys: numbered, never twice, for a thousand at the price of one, without two batches waiting for each other."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable

import pkcs11
import pytest
from django.apps import apps
from django.db import close_old_connections, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.log import Actor
from db.clock import database_now
from keys.backends.base import KeyInfo
from keys.backends.pkcs11 import PKCS11KeyBackend
from keys.errors import KeyBackendNotConfigured, KeyMismatch
from keys.lifecycle.claim import claim_keys, key_name, take_names
from keys.lifecycle.create import make_keys
from keys.models import Key, KeyName
from keys.public_keys import block_public_key
from keys.registry import get_key_backend, is_answering
from keys.signing import sign_message
from keys.spec import KeySpec, spki_sha256
from keys.use import private_keys_for, side_by_side
from tests.keys.beats import claim, confirm, error_of, make, wanted
from tests.twins.keys import TwinKeyBackend

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def names(keys: list[Key]) -> list[str]:
    return [key.name for key in keys]


def count_queries(act: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        act()
    return len(queries)


def test_taken_names_are_numbered_within_and_across_batches(twin: TwinKeyBackend) -> None:
    assert names(claim(wanted("a", "x"), wanted("b", "x"), wanted("c", "y"))) == ["x", "x-2", "y"]
    assert names(claim(wanted("d", "y"), wanted("e", "x"))) == ["y-2", "x-3"]


def test_backends_number_their_names_apart(twin: TwinKeyBackend) -> None:
    assert names(claim(wanted("a", "x"), wanted("b", "x", backend="local"))) == ["x", "x"]


def test_base_that_ends_in_a_number_does_not_share_a_name(twin: TwinKeyBackend) -> None:
    first = claim(wanted("a", "x-2"), wanted("b", "x"))
    second = claim(wanted("c", "x"), wanted("d", "x"), wanted("e", "x-2"))
    assert names(first) == ["x-2", "x"]
    assert len({*names(first), *names(second)}) == 5


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite rows go by the ORM, which writes them in parts")
def test_claims_of_a_batch_cost_as_many_statements_as_one(twin: TwinKeyBackend) -> None:
    one = count_queries(lambda: claim(wanted("a", "a")))
    many = count_queries(lambda: claim(*(wanted(f"many-{n}", f"host-{n}-example-com") for n in range(300))))
    again = count_queries(lambda: claim(*(wanted(f"many-{n}", f"host-{n}-example-com") for n in range(300))))
    assert (many, again < many) == (one, True)
    assert Key.objects.count() == 301


def test_claim_that_rolls_back_gives_its_names_back(twin: TwinKeyBackend) -> None:
    def fail() -> None:
        with transaction.atomic():
            claim_keys([wanted("a", "x")], now=database_now())
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert names(claim(wanted("b", "x"))) == ["x"]


def test_row_that_is_answered_is_the_row_that_is_stored(twin: TwinKeyBackend) -> None:
    (answered,) = claim(wanted("a", "x"))
    stored = Key.objects.get()
    for field in Key._meta.concrete_fields:
        assert getattr(answered, field.attname) == getattr(stored, field.attname), field.name
    (made,) = make(wanted("a", "x"))
    stored.refresh_from_db()
    for field in Key._meta.concrete_fields:
        ours, theirs = getattr(made, field.attname), getattr(stored, field.attname)
        assert (bytes(theirs) if isinstance(theirs, memoryview) else theirs) == ours, field.name


def test_batches_that_want_the_same_names_in_opposite_orders_both_get_theirs(twin: TwinKeyBackend) -> None:
    bases = [f"host-{n}" for n in range(40)]
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def run(worker: int) -> None:
        try:
            for turn in range(10):
                order = bases if worker else bases[::-1]
                together.wait(timeout=60)
                claim(*(wanted(f"{worker}-{turn}-{base}", base) for base in order))
        except BaseException as exc:  # noqa: BLE001 - told below, in the test's own thread
            failures.append(exc)
            together.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(worker,)) for worker in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_old_connections()
    assert failures == []
    assert (Key.objects.count(), Key.objects.values("name").distinct().count()) == (800, 800)


def test_two_workers_with_one_claim_get_one_row(twin: TwinKeyBackend) -> None:
    answers: list[Key] = []
    together = threading.Barrier(4)

    def run() -> None:
        together.wait(timeout=60)
        answers.extend(claim(wanted("a", "x"), wanted("b", "y")))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), len({key.pk for key in answers}), Key.objects.count()) == (8, 2, 2)


def test_names_of_before_are_counted_when_the_counters_come(twin: TwinKeyBackend) -> None:
    now = database_now()
    for n, name in enumerate(["x", "x-7", "y-example-com", "z-20251124093000", "w-1"]):
        Key.objects.create(backend="twin", name=name, spec="ec-p256", purpose="leaf", claimed_for=f"old-{n}", claimed_at=now)
    migration = importlib.import_module("keys.migrations.0004_key_names")
    migration.count_names(apps, connection.schema_editor())
    with transaction.atomic():
        taken = take_names([("twin", base) for base in ("x", "y-example-com", "z", "z-20251124093000", "w", "x-7", "new")])
    assert taken == ["x-8", "y-example-com-2", "z", "z-20251124093000-2", "w-2", "x-7-2", "new"]
    assert KeyName.objects.get(base="x").last_number == 8


def test_backend_that_this_process_does_not_have_holds_its_own_keys_and_no_others(twin: TwinKeyBackend) -> None:
    elsewhere, here = claim(wanted("a", "x", backend="elsewhere"), wanted("b", "x"))
    made = make_keys([elsewhere, here])
    error = made[elsewhere.pk]
    assert isinstance(error, KeyBackendNotConfigured)
    assert error.retryable is True
    assert isinstance(made[here.pk], KeyInfo)
    confirm(made)
    Key.objects.filter(pk=elsewhere.pk).update(state=Key.State.ACTIVE)  # made by a process that has it
    signers = private_keys_for([elsewhere, here])
    assert [isinstance(signers[key.pk], KeyBackendNotConfigured) for key in (elsewhere, here)] == [True, False]
    assert [type(one) for one in side_by_side("elsewhere", [1, 2], str)] == [KeyBackendNotConfigured] * 2
    assert (is_answering("elsewhere"), is_answering("twin")) == (False, True)


def test_long_batch_lets_its_caller_renew_the_lease_as_it_goes(twin: TwinKeyBackend) -> None:
    slow = [wanted(f"slow-{n}", f"slow-{n}", spec=KeySpec.RSA_2048) for n in range(18)]
    keys = claim(wanted("a", "a"), *slow, wanted("b", "b"))
    made_before: list[int] = []
    made = make_keys(keys, between=lambda: made_before.append(len(twin.keys)))
    assert made_before == [16, 18, 20]
    assert all(isinstance(made[key.pk], KeyInfo) for key in keys)


def test_key_that_another_worker_with_the_same_claim_has_just_made_is_adopted(twin: TwinKeyBackend) -> None:
    """Its row was read before the other worker noted that there was no key yet: the key was taken for a stranger's."""
    (mine,) = claim(wanted("a", "x"))
    (theirs,) = claim(wanted("a", "x"))
    made = make_keys([theirs])[theirs.pk]
    found = make_keys([mine])[mine.pk]
    assert isinstance(made, KeyInfo)
    assert isinstance(found, KeyInfo)
    assert spki_sha256(found.public_key) == spki_sha256(made.public_key)
    assert len(twin.keys) == 1


def test_key_that_was_blocked_before_it_was_recorded_is_compromised_from_the_start(twin: TwinKeyBackend) -> None:
    (key,) = claim(wanted("a", "x"))
    made = make_keys([key])
    info = made[key.pk]
    assert isinstance(info, KeyInfo)
    with transaction.atomic():
        block_public_key(spki_sha256(info.public_key), team="web", reason="pasted", now=database_now(), actor=Actor("user", "officer"))
    assert [one.state for one in confirm(made)] == [Key.State.COMPROMISED]


@pytest.mark.parametrize(
    ("common_name", "expected"),
    [
        ("api.example.com", "api-example-com"),
        ("*.example.com", "wildcard-example-com"),
        ("2001:db8::1", "2001-db8-1"),
        ("…", "key"),
        ("a" * 200, "a" * 100),
    ],
)
def test_name_is_made_of_the_common_name(common_name: str, expected: str) -> None:
    assert key_name(common_name) == expected


def second_pair(key: Key) -> None:
    """As a second process makes it that was late with the same claim."""
    backend = get_key_backend("pkcs11")
    assert isinstance(backend, PKCS11KeyBackend)
    with backend.in_session() as session:
        backend.generate(session, key.name, KeySpec(key.spec), key.pk)


@pytest.mark.usefixtures("softhsm")
def test_two_pairs_that_a_crash_left_on_a_token_give_way_to_one() -> None:
    (key,) = claim(wanted("req-1", backend="pkcs11"))
    for _ in range(2):
        second_pair(key)
    (made,) = make(wanted("req-1", backend="pkcs11"))
    assert made.state == Key.State.ACTIVE
    assert sign_message(private_keys_for([made])[made.pk], b"tbs")


@pytest.mark.usefixtures("softhsm")
def test_second_pair_beside_the_one_on_record_is_refused_and_destroys_nothing() -> None:
    (late,) = claim(wanted("req-1", backend="pkcs11"))  # the row as a worker has read it before the other recorded its pair
    (made,) = make(wanted("req-1", backend="pkcs11"))
    second_pair(made)
    assert isinstance(error_of(late), KeyMismatch)
    backend = get_key_backend("pkcs11")
    assert isinstance(backend, PKCS11KeyBackend)
    with backend.in_session() as session:
        assert len(list(session.get_objects({pkcs11.Attribute.ID: made.pk.bytes}))) == 4
