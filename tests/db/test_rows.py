"""Rows by the batch: read, locked, inserted and updated as the ORM would, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from certs.models import CertificateRequest, Issuer, PolicyEvaluation, Team
from certs.requests.submit import Requester
from db.reads import read
from db.rows import COPY_FROM, Lock, give_ids, insert, insert_missing, partial_selection, save_fields, select, select_keys, take_ids, update
from db.unit_of_work import StaleRow, UnitOfWork
from keys.models import Key
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
NOW = datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC)
MANY = COPY_FROM + 5


def groups() -> set[str]:
    """Of these tests: migrations make the roles."""
    return set(Group.objects.filter(name__startswith="t-").values_list("name", flat=True))


def a_key(name: str, **more: object) -> Key:
    values = {"backend": "local", "name": name, "spec": "ec-p256", "purpose": "leaf", "claimed_for": name, "claimed_at": NOW}
    return Key(**values, **more)


def a_request(requester: Requester, name: str) -> CertificateRequest:
    return CertificateRequest(
        public_id=name,
        state="submitted",
        team=requester.team,
        door="command",
        issuer=Issuer.objects.get(name="Twin-CA"),
        profile="tls-server",
        common_name=name,
        dns_names=[name, "it's 100% \\ \u00fc"],
        ip_addresses=[],
        key_type="ec-p256",
        validity_days=90,
        digest="0" * 64,
        created_at=NOW,
        state_changed_at=NOW,
    )


def test_part_of_a_row_is_read_without_the_rest() -> None:
    insert([a_key(f"k{n}", state="active") for n in range(3)])
    with transaction.atomic(), CaptureQueriesContext(connection) as statements:
        found = read(partial_selection(Key, ("id", "name", "state"), lock=Lock.UPDATE, unless={"name": "k1"}, backend="local"))
        assert sorted((key.name, key.state) for key in found) == [("k0", "active"), ("k2", "active")]
    assert [one.get_deferred_fields() >= {"evidence", "spki_der"} for one in found] == [True, True]
    assert len([one for one in statements if "keys_key" in one["sql"]]) == 1


@pytest.mark.parametrize("count", [1, 3, MANY])
def test_rows_come_back_as_the_orm_reads_them(count: int) -> None:
    insert([a_key(f"k{n}", evidence={"n": [n, None]}, spki_der=b"\x00\\x" if n else None) for n in range(count)])
    theirs = {key.pk: key for key in Key.objects.all()}
    ours = select(Key, backend="local")
    assert [key.pk for key in ours] == sorted(theirs)
    names = [field.attname for field in Key._meta.concrete_fields]
    for key in ours:
        assert {name: getattr(key, name) for name in names} == {name: getattr(theirs[key.pk], name) for name in names}
        assert (key._state.adding, key._state.db) == (False, "default")


def test_choices_nulls_and_words_select_what_they_say() -> None:
    one, two, three = a_key("one"), a_key("two", state=Key.State.ACTIVE, made_at=NOW), a_key("three", state=Key.State.DESTROYED)
    insert([one, two, three])
    assert {key.name for key in select(Key, name=["one", "three", "'; --"])} == {"one", "three"}
    assert {key.name for key in select(Key, id={one.pk, two.pk}, made_at=None)} == {"one"}
    assert {key.name for key in select(Key, unless={"state": Key.State.DESTROYED})} == {"one", "two"}
    assert select_keys(Key, name=("two",)) == [two.pk]
    assert select(Key, name=[]) == []
    with pytest.raises(ValueError, match="not a word"):
        select(Key, unless={"state": "' OR true"})


def test_rows_without_an_id_are_numbered_by_the_database() -> None:
    insert([Group(name=f"t-{n}") for n in range(MANY)])
    assert len(groups()) == MANY


@pytest.mark.parametrize("count", [1, 700])
def test_ids_are_rising_and_nobody_elses(count: int) -> None:
    with transaction.atomic():
        first = list(take_ids("auth_group", count))
        groups = [Group(name=f"t-{n}") for n in range(3)]
        give_ids(groups)
        assert first == sorted(set(first))
        assert len(first) == count
        assert first[-1] < groups[0].pk < groups[1].pk < groups[2].pk
        insert(groups)
    later = Group.objects.create(name="t-later")
    assert later.pk > groups[2].pk


def test_rows_that_are_there_are_left_as_they_are() -> None:
    insert([a_key("one", evidence={"first": True})])
    insert_missing([a_key("one"), a_key("two")])
    assert {key.name: key.evidence for key in select(Key)} == {"one": {"first": True}, "two": {}}


def test_more_rows_than_one_statement_has_parameters_for() -> None:
    """A chunk of a bulk order may be set so large."""
    insert_missing([a_key(f"k{n}") for n in range(5000)])
    assert Key.objects.count() == 5000


@pytest.mark.parametrize("count", [2, MANY])
def test_different_values_are_written_to_each_row(count: int) -> None:
    keys = [a_key(f"k{n}") for n in range(count)]
    insert(keys)
    for n, key in enumerate(keys):
        key.evidence, key.spki_der, key.version, key.made_at = {"n": n}, bytes([n, 0, 255]), n + 2, NOW + timedelta(seconds=n)
        key.state = Key.State.ACTIVE
    save_fields(keys, ["evidence", "spki_der", "version", "made_at", "state"])
    stored = {key.pk: key for key in Key.objects.all()}
    for key in keys:
        row = stored[key.pk]
        found = (row.evidence, bytes(row.spki_der or b""), row.version, row.made_at, row.state)
        assert found == (key.evidence, key.spki_der, key.version, key.made_at, "active")


def test_compare_and_set_writes_only_rows_that_are_as_expected() -> None:
    one, two = a_key("one"), a_key("two", state=Key.State.ACTIVE)
    insert([one, two])
    values = {"state": Key.State.DESTROYING}
    assert update(Key, {one.pk: values, two.pk: values, uuid4(): values}, only_if={"state": Key.State.ACTIVE}) == 1
    assert {key.name: key.state for key in select(Key)} == {"one": "claimed", "two": "destroying"}


def test_value_that_does_not_fit_is_refused_and_not_cut_off() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite knows no lengths")
    keys = [a_key("one"), a_key("two")]
    insert(keys)
    with pytest.raises(Exception, match="too long"), transaction.atomic():
        update(Key, {key.pk: {"spec": f"{key.name}{'x' * 40}"} for key in keys})


def test_share_lock_keeps_a_row_as_it_is_until_the_transaction_ends() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite the transaction holds the only write lock")
    group = Group.objects.create(name="t-before")
    done: list[int] = []
    with transaction.atomic():
        select(Group, lock=Lock.SHARE, id=group.pk)
        other = in_thread(lambda: done.append(Group.objects.filter(pk=group.pk).update(name="after")))
        other.join(0.3)
        assert (done, Group.objects.get(pk=group.pk).name) == ([], "t-before")
    other.join(30)
    assert done == [1]


class TestUnitOfWork:
    def test_new_rows_are_written_at_the_end_as_they_then_are(self, twin_portal: Requester) -> None:
        request, other = a_request(twin_portal, "req-1"), a_request(twin_portal, "req-2")
        with UnitOfWork() as work:
            give_ids([request, other])
            work.insert([request, other])
            work.insert([PolicyEvaluation(request=request, policy_version="v1", outcome="allow", checks=[], evaluated_at=NOW)])
            assert (work.is_new(request), work.is_new(twin_portal.team)) == (True, False)
            work.update(request, {"common_name": "changed"}, was={"common_name": "whatever"})
            assert not CertificateRequest.objects.exists()
        assert [row.common_name for row in CertificateRequest.objects.order_by("pk")] == ["changed", "req-2"]
        assert PolicyEvaluation.objects.get().request == request

    def test_several_changes_of_a_row_are_one(self, twin_portal: Requester) -> None:
        team = twin_portal.team
        with UnitOfWork() as work:
            work.update(team, {"name": "First"}, was={"name": "Web"})
            work.update(team, {"name": "Second", "organization": "O"}, was={"name": "First"})
            assert Team.objects.get(pk=team.pk).name == "Web"
        stored = Team.objects.get(pk=team.pk)
        assert (stored.name, stored.organization, team.name) == ("Second", "O", "Second")

    def test_change_may_free_what_a_new_row_needs(self) -> None:
        old = Group.objects.create(name="t-taken")
        with UnitOfWork() as work:
            work.insert([Group(name="t-taken")])
            work.update(old, {"name": "t-free"})
        assert groups() == {"t-free", "t-taken"}

    def test_row_that_was_not_locked_and_changed_is_noticed(self, twin_portal: Requester) -> None:
        team = twin_portal.team
        Team.objects.filter(pk=team.pk).update(name="Other")
        with pytest.raises(StaleRow, match="1 of 1 rows of Team"):
            self._rename_and_insert(team)
        assert Team.objects.get(pk=team.pk).name == "Other"
        assert groups() == set()

    def _rename_and_insert(self, team: Team) -> None:
        with UnitOfWork() as work:
            work.insert([Group(name="t-with it")])
            work.update(team, {"name": "Mine"}, was={"name": "Web"})

    def test_failure_takes_everything_back_in_memory_too(self, twin_portal: Requester) -> None:
        team = twin_portal.team
        with pytest.raises(ZeroDivisionError):
            self._fail(team)
        assert (team.name, team.organization, len(groups())) == ("Web", "", 0)

    def _fail(self, team: Team) -> None:
        with UnitOfWork() as work:
            work.insert([Group(name="t-gone")])
            work.update(team, {"name": "First", "organization": "O"})
            work.update(team, {"name": "Second"})
            raise ZeroDivisionError

    def test_conflict_is_raised_at_the_end_and_leaves_nothing(self, twin_portal: Requester) -> None:
        Group.objects.create(name="t-taken")
        with pytest.raises(IntegrityError):
            self._insert_twice(twin_portal.team)
        assert (len(groups()), Team.objects.get(pk=twin_portal.team.pk).name, twin_portal.team.name) == (1, "Web", "Web")

    def _insert_twice(self, team: Team) -> None:
        with UnitOfWork() as work:
            work.update(team, {"name": "Mine"})
            work.insert([Group(name="t-new")])
            work.insert([Group(name="t-taken")])

    def test_relation_is_written_by_its_key(self, twin_portal: Requester) -> None:
        request = a_request(twin_portal, "req-1")
        insert([request])
        request = CertificateRequest.objects.get()
        key = a_key("k")
        with UnitOfWork() as work:
            work.insert([key])
            work.update(request, {"key": key})
        assert CertificateRequest.objects.get().key_id == key.pk

    def test_within_a_transaction_it_is_a_savepoint(self) -> None:
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError):
                self._insert_in_vain()
            with UnitOfWork() as work:
                work.insert([Group(name="t-kept")])
        assert groups() == {"t-kept"}

    def _insert_in_vain(self) -> None:
        with UnitOfWork() as work:
            work.insert([Group(name="t-gone")])
            work.write()
            raise ZeroDivisionError
