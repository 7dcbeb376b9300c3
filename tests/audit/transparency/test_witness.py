"""Witnesses: a small real one, written in Go by the specification (C2SP tlog-witness), and what goes wrong with them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pytest_django import Settings

from audit.models import Checkpoint, Cosignature, WitnessState
from audit.transparency import witness as witness_module
from audit.transparency.checkpoint import NoteRefused
from audit.transparency.cosignature import WitnessKey
from audit.transparency.notes import best_checkpoint, signed_note
from audit.transparency.sealer import seal, start_epoch
from audit.transparency.witness import Witness, WitnessFailed, ask_witness, configured_witnesses
from audit.verification.verify import verify
from db.clock import database_now
from keys.bounded import BoundedCalls
from tests.audit.cosigning import WITNESS, cosign
from tests.audit.ledger import ANN, AT, execute, forge, write
from tests.certs.evidence.go import TLOGCHECK, go_program
from tests.faults.dripping import dripping

pytestmark = [pytest.mark.django_db(transaction=True)]
Start = Callable[..., Witness]


def sealed(*subjects: str) -> Checkpoint:
    write(*subjects)
    seal()
    return Checkpoint.objects.order_by("-epoch", "-tree_size")[0]


@pytest.fixture
def start(audit_home: Path, tmp_path: Path, settings: Settings) -> Iterator[Start]:
    """Start a witness of this log; `seed`: another key."""
    running: list[subprocess.Popen[str]] = []

    def begin(*, log_key: str = "", seed: str = "0" * 32) -> Witness:
        key = tmp_path / f"log-{len(running)}.vkey"
        key.write_text(log_key or (audit_home / "audit.pub").read_text())
        command = [str(go_program(TLOGCHECK)), "witness", str(key), seed, "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        settings.AUDIT_WITNESSES = [line]
        return Witness.parse(line)

    yield begin
    for process in running:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ask(witness: Witness) -> Cosignature | None:
    return ask_witness(witness, now=database_now(), calls=BoundedCalls(most=2))


def test_witness_cosigns_each_checkpoint_from_the_one_before(start: Start) -> None:
    witness = start()
    for subjects in (["req-1"], ["req-2", "req-3"], ["req-4"] * 300):
        newest = sealed(*subjects)
        found = ask(witness)
        assert found is not None
        assert witness.key.cosigned_at(newest.note, found.line) == found.signed_at
        assert signed_note(newest) == newest.note + found.line
    assert ask(witness) is None  # nothing new
    state = WitnessState.objects.get()
    assert (state.cosigned_size, state.error) == (303, "")
    assert verify(now=database_now()).success
    write("req-5")
    seal()
    best = best_checkpoint(1, above=302)
    assert best is not None
    assert best.tree_size == 303, "a proof is of the newest cosigned checkpoint that has the event"


def test_portal_that_forgot_what_a_witness_knows_learns_it_from_the_answer(start: Start) -> None:
    witness = start()
    sealed("req-1", "req-2", "req-3")
    ask(witness)
    execute("DELETE FROM audit_witness_state")
    sealed("req-4")
    assert ask(witness) is not None


def test_new_epoch_is_a_new_log_of_which_the_witness_knows_nothing(start: Start, audit_home: Path) -> None:
    witness = start()
    sealed("req-1")
    ask(witness)
    start_epoch(actor=ANN, at=AT)
    with pytest.raises(WitnessFailed, match="does not know this log"):
        ask(witness)
    second = start()  # its operator has added the key of the new epoch
    assert ask(second) is not None


def test_tree_that_was_rewritten_gets_no_cosignature(start: Start) -> None:
    """The split view that witnesses exist for: the portal shows the witness another past."""
    witness = start()
    sealed("req-1", "req-2", "req-3")
    ask(witness)
    last = sealed("req-4")
    forge("UPDATE audit_sealed_leaf SET leaf_hash = (SELECT leaf_hash FROM audit_sealed_leaf WHERE leaf_index = 0) WHERE leaf_index = 1")
    with pytest.raises(WitnessFailed, match="does not lead"):
        ask(witness)
    assert not Cosignature.objects.filter(checkpoint_id=last.pk).exists()


def test_shortened_log_is_noticed_by_the_witness(start: Start) -> None:
    witness = start()
    first = sealed("req-1", "req-2")
    sealed("req-3")
    ask(witness)
    forge(f"DELETE FROM audit_checkpoint WHERE id <> {first.pk}", "DELETE FROM audit_sealed_leaf WHERE leaf_index = 2")
    execute("DELETE FROM audit_witness_state")
    with pytest.raises(WitnessFailed, match="has cosigned a tree of 3 leaves, the newest here has 2"):
        ask(witness)
    assert "shortened or restored" in WitnessState.objects.get().error


def test_answer_under_another_key_is_no_cosignature(start: Start) -> None:
    witness = start(seed="1" * 32)
    sealed("req-1")
    with pytest.raises(WitnessFailed, match="without a cosignature under its configured key"):
        ask(Witness(WitnessKey(WITNESS.name, WITNESS.raw), witness.url))
    assert not Cosignature.objects.exists()


def test_witness_that_is_down_or_silent_delays_no_seal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        deaf.close()
        sealed("req-1")
        with pytest.raises(WitnessFailed, match="cannot be reached"):
            ask(Witness(WITNESS, address))
    assert sealed("req-2").tree_size == 2
    assert WitnessState.objects.get().error == "It cannot be reached."


def test_without_a_checkpoint_no_witness_is_asked() -> None:
    assert ask(Witness(WITNESS, "http://127.0.0.1:1")) is None


def test_cosignature_is_verified_before_it_counts() -> None:
    note = sealed("req-1").note
    line, at = cosign(note, database_now())
    assert WITNESS.cosigned_at(note, line) == at
    assert WITNESS.find(note, "— other.example AAAAAAAA\n" + line) == (line, at)
    assert WITNESS.find(note, "— other.example AAAAAAAA\n") is None
    for wrong in (line.replace("witness.example", "witness.sample"), line.replace("A", "B"), line[:-20] + "\n", "", "nonsense\n"):
        with pytest.raises((NoteRefused, ValueError)):
            WITNESS.cosigned_at(note, wrong)
    with pytest.raises(NoteRefused):
        WITNESS.cosigned_at(note.replace("\n1\n", "\n2\n"), line)


def test_example_of_the_specification_is_read_and_is_of_another_key() -> None:
    blob = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    with pytest.raises(NoteRefused, match="is not signed by the key"):
        WITNESS.cosigned_at("x\n1\nAAAA\n\n", f"— witness.example.com/w1 {blob}\n")


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AAAA http://x", f"{WITNESS.name}+00000000+{str(WITNESS).split('+', 2)[2]} http://x"]
)
def test_setting_that_names_no_witness_is_refused(text: str, settings: Settings) -> None:
    settings.AUDIT_WITNESSES = [text]
    with pytest.raises(NoteRefused):
        configured_witnesses()
    assert str(WitnessKey.parse(str(WITNESS))) == str(WITNESS)


@pytest.fixture
def answering() -> Iterator[Callable[[str], Witness]]:
    """A party that holds the witness's key and answers everything with a text of its own."""
    servers: list[HTTPServer] = []

    def begin(text: str) -> Witness:
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        servers.append(HTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Witness(WITNESS, f"http://127.0.0.1:{servers[-1].server_port}")

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_cosignature_of_a_time_at_which_it_cannot_have_been_made_is_refused(answering: Callable[[str], Witness]) -> None:
    """Of before the checkpoint it says nothing about this tree; of the future it would silence the alert for good."""
    newest, now = sealed("req-1"), database_now()
    for at, why in (
        (newest.created_at - timedelta(minutes=6), "before the checkpoint was signed"),
        (datetime(1970, 1, 2, tzinfo=UTC), "before the checkpoint was signed"),
        (now + timedelta(minutes=6), "in the future"),
        (datetime(9999, 12, 31, tzinfo=UTC), "in the future"),
    ):
        with pytest.raises(WitnessFailed, match=f"{why}.*its clock is wrong"):
            ask(answering(cosign(newest.note, at)[0]))
    assert not Cosignature.objects.exists()
    state = WitnessState.objects.get()
    assert (state.cosigned_size, state.cosigned_at) == (0, None)
    assert "its clock is wrong" in state.error
    for at in (newest.created_at - timedelta(minutes=4), now + timedelta(minutes=4)):
        Cosignature.objects.all().delete()
        execute("DELETE FROM audit_witness_state")
        assert ask(answering(cosign(newest.note, at)[0])) is not None


def test_cosignature_of_an_older_tree_or_of_another_log_is_none_of_this_checkpoint(answering: Callable[[str], Witness]) -> None:
    older = sealed("req-1")
    newest, now = sealed("req-2"), database_now()
    foreign = "other.example/log\n" + newest.note.partition("\n")[2]
    for note in (older.note, foreign):
        with pytest.raises(WitnessFailed, match="does not hold"):
            ask(answering(cosign(note, now)[0]))
    assert not Cosignature.objects.exists()


def test_one_cosignature_is_kept_for_a_tree_head_however_often_the_witness_signs(answering: Callable[[str], Witness]) -> None:
    newest, now = sealed("req-1"), database_now()
    first, again = (cosign(newest.note, now - timedelta(seconds=second))[0] for second in (0, 9))
    assert first != again
    found = ask(answering(first + again))
    assert found is not None
    execute("DELETE FROM audit_witness_state")
    ask(answering(again))
    assert [one.line for one in Cosignature.objects.all()] == [first]
    assert signed_note(newest) == newest.note + first


@pytest.mark.parametrize("at_once", [0, 60])
def test_witness_that_answers_octet_by_octet_is_given_up(at_once: int, audit_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the headers or in the body: it would occupy a process of the worker for mails."""
    monkeypatch.setattr(witness_module, "_WHOLE_SECONDS", 0.5)
    sealed("req-1")
    with dripping(at_once) as address:
        slow = Witness(WITNESS, address)
        begun = time.monotonic()
        with pytest.raises(WitnessFailed, match="did not answer in time"):
            ask(slow)
        assert time.monotonic() - begun < 5
