"""Sealing: in order, one sealer, signed, sent outside; a smaller or forked tree is refused."""

from __future__ import annotations

import threading
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction
from pytest_django import Settings

from audit.models import AuditEvent, AuditUnsealed, Checkpoint, SealedLeaf
from audit.sinks import FileSink
from audit.tasks import seal as seal_task
from audit.transparency.canonical import as_bytes
from audit.transparency.checkpoint import Statement, Verifier, key_hash, split_notes
from audit.transparency.merkle import root_of
from audit.transparency.sealer import EventAltered, TreeRefused, seal, start_epoch
from audit.transparency.signing_key import FileSigner, SealingKeyUnusable, ensure_sealing_key, get_verifier
from audit.verification.verify import verify
from tests.audit.ledger import ANN, AT, forge, write
from tests.audit.test_log import in_threads

pytestmark = pytest.mark.both_databases


def outside(home: Path) -> list[Statement]:
    with (home / "checkpoints.log").open(encoding="utf-8") as file:
        return [get_verifier().open(note) for note in split_notes(file)]


@pytest.mark.django_db
def test_seal_gives_leaves_in_order_and_signs_each_root(audit_home: Path) -> None:
    write(*[f"req-{n}" for n in range(70)])
    write("req-1")
    assert seal(limit=30) == 30
    assert seal() == 41
    assert seal() == 0
    leaves = list(SealedLeaf.objects.order_by("leaf_index").values_list("leaf_index", "event_id", "leaf_hash"))
    assert [index for index, _, _ in leaves] == list(range(71))
    assert [event_id for _, event_id, _ in leaves] == sorted(AuditEvent.objects.values_list("id", flat=True))
    assert AuditUnsealed.objects.count() == 0
    hashes = [as_bytes(leaf) for _, _, leaf in leaves]
    assert [(s.epoch, s.size, s.root) for s in outside(audit_home)] == [(1, 30, root_of(hashes[:30])), (1, 71, root_of(hashes))]
    assert list(Checkpoint.objects.order_by("tree_size").values_list("tree_size", flat=True)) == [30, 71]


@pytest.mark.django_db
def test_task_seals(audit_home: Path) -> None:
    write("req-1")
    seal_task()
    assert [statement.size for statement in outside(audit_home)] == [1]


@pytest.mark.django_db(transaction=True)
def test_seal_inside_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        seal()


@pytest.mark.django_db(transaction=True)
def test_writers_and_two_sealers_at_once_seal_every_event_once(audit_home: Path) -> None:
    done = threading.Event()

    def work(number: int) -> None:
        if number < 2:
            for _ in range(20):
                write("req-1", f"req-{number}-own")
            if number == 0:
                done.set()
        else:
            while not done.is_set():
                seal()

    assert in_threads(work, 4) == []
    seal()
    report = verify(now=AT)
    assert (report.success, report.events, report.sealed, report.unsealed) == (True, 80, 80, 0)
    sizes = [statement.size for statement in outside(audit_home)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 80


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer")
def test_late_commit_with_a_lower_id_is_sealed_after_a_higher_one() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        try:
            with transaction.atomic():
                write("req-slow")
                entered.set()
                go_on.wait(timeout=20)
        finally:
            connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert entered.wait(timeout=20)
    write("req-fast")
    assert seal() == 1
    go_on.set()
    thread.join(timeout=20)
    assert seal() == 1
    subjects = SealedLeaf.objects.order_by("leaf_index").values_list("event__subject", flat=True)
    assert list(subjects) == ["req-fast", "req-slow"]
    assert verify(now=AT).success


@pytest.mark.django_db
def test_event_changed_before_sealing_is_left_out_and_told() -> None:
    write("req-1", "req-2", "req-3")
    bad = AuditEvent.objects.get(subject="req-2").id
    forge("UPDATE audit_event SET actor_name = 'eve' WHERE subject = 'req-2'")
    with pytest.raises(EventAltered) as told:
        seal()
    assert told.value.event_ids == [bad]
    assert list(SealedLeaf.objects.order_by("leaf_index").values_list("event__subject", flat=True)) == ["req-1", "req-3"]


@pytest.mark.django_db
def test_event_waiting_under_an_older_secret_key_is_sealed(settings: Settings) -> None:
    write("req-1")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new one"
    assert seal() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("lost", ["audit.key", "audit.pub"])
def test_seal_without_its_key_seals_nothing_and_says_what_to_run(audit_home: Path, lost: str) -> None:
    write("req-1")
    (audit_home / lost).unlink()
    with pytest.raises(SealingKeyUnusable, match=r"manage\.py bootstrap"):
        seal()
    assert AuditUnsealed.objects.count() == 1


@pytest.mark.django_db
def test_seal_with_the_key_of_another_installation_is_refused(audit_home: Path) -> None:
    write("req-1")
    (audit_home / "audit.key").unlink()
    public = (audit_home / "audit.pub").read_text()
    ensure_sealing_key()
    assert (audit_home / "audit.pub").read_text() == public
    with pytest.raises(SealingKeyUnusable, match="do not belong together"):
        seal()
    assert SealedLeaf.objects.count() == 0


def test_sealing_key_is_made_once_and_only_its_owner_reads_it(audit_home: Path) -> None:
    key = (audit_home / "audit.key").read_bytes()
    assert ensure_sealing_key() is False
    assert (audit_home / "audit.key").read_bytes() == key
    assert (audit_home / "audit.key").stat().st_mode & 0o777 == 0o600
    (audit_home / "audit.pub").unlink()
    assert ensure_sealing_key() is False
    assert FileSigner().verifier().public_key == get_verifier().public_key


@pytest.mark.django_db
def test_checkpoint_that_a_sink_missed_is_sent_before_more_is_sealed(audit_home: Path) -> None:
    write("req-1")
    seal()
    (audit_home / "checkpoints.log").unlink()
    write("req-2")
    seal()
    assert [statement.size for statement in outside(audit_home)] == [1, 2]


@pytest.mark.django_db
def test_full_disk_at_the_sink_is_loud_and_made_good_later(audit_home: Path) -> None:
    write("req-1")
    (audit_home / "checkpoints.log").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        seal()
    assert SealedLeaf.objects.count() == 1
    write("req-2")
    with pytest.raises(OSError, match="No space left"):
        seal()
    assert SealedLeaf.objects.count() == 1
    (audit_home / "checkpoints.log").unlink()
    assert seal() == 1
    assert [statement.size for statement in outside(audit_home)] == [1, 2]


def test_file_sink_goes_on_after_a_note_that_was_cut_off() -> None:
    signer, sink = FileSigner(), FileSink()
    notes = [signer.sign(Statement(signer.name, 1, size, bytes(32))) for size in (1, 2, 3)]
    sink.publish(notes[0])
    with sink.path.open("a", encoding="utf-8") as file:
        file.write(notes[1][:-30])
    assert sink.last() == notes[0]
    sink.publish(notes[2])
    sink.publish(notes[1])  # late: the file is further already
    assert sink.last() == notes[2]
    with sink.path.open(encoding="utf-8") as file:
        assert list(split_notes(file)) == [notes[0], notes[2]]


def cut_tail(size: int) -> None:
    """The database as a backup from before had it: everything above `size` leaves is gone, counters included."""
    forge(
        f"DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_sealed_leaf WHERE leaf_index >= {size})",
        f"DELETE FROM audit_sealed_leaf WHERE leaf_index >= {size}",
        f"DELETE FROM audit_checkpoint WHERE tree_size > {size}",
        "DELETE FROM audit_subject WHERE subject NOT IN (SELECT subject FROM audit_event)",
    )


@pytest.mark.django_db
def test_smaller_tree_than_outside_is_refused_until_a_new_epoch_names_the_old(audit_home: Path) -> None:
    write("req-1", "req-2")
    seal()
    write("req-3")
    seal()
    lost = outside(audit_home)[-1]
    cut_tail(2)
    write("req-4")
    with pytest.raises(TreeRefused, match="tail is missing"):
        seal()
    assert not verify(now=AT).success
    assert start_epoch(actor=ANN, at=AT) == 2
    assert seal() == 1
    assert list(SealedLeaf.objects.order_by("epoch", "leaf_index").values_list("epoch", "leaf_index")) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    first = AuditEvent.objects.get(leaf__epoch=2, leaf__leaf_index=0)
    assert (first.event, first.data["old_size"], first.data["outside_size"], first.data["outside_root"]) == (
        "audit:epoch_started",
        2,
        3,
        lost.root.hex(),
    )
    assert [(s.epoch, s.size) for s in outside(audit_home)] == [(1, 2), (1, 3), (2, 1), (2, 2)]
    report = verify(now=AT)
    assert report.success
    with (audit_home / "checkpoints.log").open(encoding="utf-8") as file:
        told = verify(now=AT, checkpoints=file, verifier=get_verifier())
    assert (told.success, len(told.findings.alarms)) == (True, 1)
    assert "lost in a restore" in told.findings.alarms[0]


@pytest.mark.django_db
def test_forked_tree_is_refused(audit_home: Path) -> None:
    write("req-1", "req-2")
    seal()
    signer = FileSigner()
    (audit_home / "checkpoints.log").unlink()
    FileSink().publish(signer.sign(Statement(signer.name, 1, 2, bytes(32))))
    write("req-3")
    with pytest.raises(TreeRefused, match="not the one signed outside"):
        seal()
    assert AuditUnsealed.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "forgery",
    [
        "DELETE FROM audit_sealed_leaf WHERE leaf_index = 1",
        "DELETE FROM audit_checkpoint",
        "UPDATE audit_checkpoint SET frontier = root_hash",
        "UPDATE audit_checkpoint SET root_hash = (SELECT leaf_hash FROM audit_sealed_leaf WHERE leaf_index = 0)",
    ],
)
def test_tree_that_does_not_fit_its_checkpoint_is_refused(forgery: str) -> None:
    write("req-1", "req-2", "req-3")
    seal()
    forge(forgery if "leaf_index = 1" not in forgery else "DELETE FROM audit_sealed_leaf WHERE leaf_index = 2")
    write("req-4")
    with pytest.raises(TreeRefused):
        seal()
    assert AuditUnsealed.objects.count() == 1


@pytest.mark.django_db
def test_unknown_advisory_holder_makes_seal_do_nothing() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    write("req-1")
    import psycopg  # noqa: PLC0415 - PostgreSQL only

    from audit.transparency.sealer import ADVISORY_LOCK  # noqa: PLC0415

    parameters = connection.get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "user", "password", "host", "port") if parameters.get(name)}
    with psycopg.connect(**wanted) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        assert seal() == 0
    assert seal() == 1


@pytest.mark.django_db
def test_log_of_an_earlier_release_goes_on_in_an_epoch_whose_key_has_the_name_of_its_origin(
    audit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T6: the first leaf of the new epoch names the old tree, and everything still verifies."""
    written = audit_home / "audit.pub"
    now = Verifier.parse(written.read_text(encoding="utf-8"))
    written.write_text(str(Verifier(now.name, now.public_key)), encoding="utf-8")

    def as_before(statement: Statement, key: Ed25519PrivateKey) -> str:
        text, raw = statement.text(), key.public_key().public_bytes_raw()
        blob = b64encode(key_hash(statement.log, raw) + key.sign(text.encode())).decode()
        return f"{text}\n— {statement.log} {blob}\n"

    with monkeypatch.context() as before:
        before.setattr("audit.transparency.signing_key.sign_note", as_before)
        write("req-1", "req-2")
        assert seal() == 2
    write("req-3")
    assert seal() == 1
    leaves = SealedLeaf.objects.order_by("epoch", "leaf_index").values_list("epoch", "leaf_index")
    assert list(leaves) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    started = AuditEvent.objects.get(leaf__epoch=2, leaf__leaf_index=0)
    assert (started.data["old_epoch"], started.data["old_size"]) == (1, 2)
    note = Checkpoint.objects.order_by("-id")[0].note
    origin = note.partition("\n")[0]
    assert origin.endswith("/epoch-2")
    assert written.read_text(encoding="utf-8").split("+")[0] == origin
    assert verify(now=AT).success
    with (audit_home / "checkpoints.log").open(encoding="utf-8") as file:
        assert verify(now=AT, checkpoints=file, verifier=now).success
    write("req-4")
    assert seal() == 1
    assert Checkpoint.objects.order_by("-id")[0].epoch == 2
