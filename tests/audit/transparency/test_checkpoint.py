"""Signed checkpoints as text."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.transparency.checkpoint import (
    NoteRefused,
    Statement,
    Verifier,
    key_hash,
    names_its_key_after_the_log,
    read_statement,
    sign_note,
    split_notes,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
VERIFIER = Verifier("pki.example.com/audit", KEY.public_key())
STATEMENT = Statement("pki.example.com/audit", 2, 17, bytes(range(32)))
NOTE = sign_note(STATEMENT, KEY)


def test_note_is_laid_out_as_the_format_says() -> None:
    text, signature = NOTE.split("\n\n")
    assert text == "pki.example.com/audit/epoch-2\n17\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    dash, name, blob = signature.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", "pki.example.com/audit/epoch-2")
    raw = base64.b64decode(blob)
    assert (len(raw), raw[:4]) == (68, key_hash(name, KEY.public_key().public_bytes_raw()))
    KEY.public_key().verify(raw[4:], (text + "\n").encode())


def test_verifier_key_of_the_signed_note_specification_is_read() -> None:
    # The example key of the Go sumdb note package's documentation.
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(Verifier.parse(text)) == text


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_note_opens_with_its_own_key_of_whatever_epoch(epoch: int) -> None:
    key = Verifier(VERIFIER.name, VERIFIER.public_key, epoch)
    assert Verifier.parse(str(key)) == key
    assert key.open(NOTE) == STATEMENT


def test_name_of_the_key_is_the_origin() -> None:
    """T6: C2SP tlog-policy names a log by its verifier key, whose name is the origin."""
    origin = NOTE.partition("\n")[0]
    key = str(Verifier(VERIFIER.name, VERIFIER.public_key, 2))
    assert key.split("+", maxsplit=1)[0] == origin
    assert NOTE.rpartition("\n\n")[2].split(" ")[1] == origin
    assert bytes.fromhex(key.split("+")[1]) == base64.b64decode(NOTE.split(" ")[-1])[:4]
    assert not names_its_key_after_the_log(NOTE)


def earlier_release(statement: Statement) -> str:
    """A note as releases signed it whose key was named after the log."""
    text, raw = statement.text(), KEY.public_key().public_bytes_raw()
    blob = base64.b64encode(key_hash(statement.log, raw) + KEY.sign(text.encode())).decode()
    return f"{text}\n— {statement.log} {blob}\n"


def test_note_of_an_earlier_release_still_opens() -> None:
    note = earlier_release(STATEMENT)
    assert VERIFIER.open(note) == STATEMENT
    assert names_its_key_after_the_log(note)


@pytest.mark.parametrize(("old", "new"), [("\n17\n", "\n18\n"), ("AAEC", "AAED")])
def test_note_that_was_changed_is_refused(old: str, new: str) -> None:
    with pytest.raises(NoteRefused, match="signature"):
        VERIFIER.open(NOTE.replace(old, new))


def test_note_moved_to_another_epoch_is_refused() -> None:
    with pytest.raises(NoteRefused):
        VERIFIER.open(NOTE.replace("epoch-2", "epoch-3"))
    with pytest.raises(NoteRefused):
        VERIFIER.open(NOTE.replace("epoch-2\n17", "epoch-3\n17"))


def test_note_of_another_key_is_refused() -> None:
    with pytest.raises(NoteRefused, match="not signed by"):
        VERIFIER.open(sign_note(STATEMENT, Ed25519PrivateKey.generate()))


def test_note_of_another_log_under_our_key_is_refused() -> None:
    other = sign_note(Statement("other.example/audit", 2, 17, bytes(32)), KEY)
    with pytest.raises(NoteRefused, match="not signed by"):
        VERIFIER.open(other)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "x",
        "log/epoch-1\n1\n",
        NOTE.rstrip("\n"),
        NOTE.replace("\n17\n", "\n017\n"),
        NOTE.replace("—", "-"),
        NOTE.replace("AAEC", "!!!!"),
    ],
)
def test_text_that_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteRefused):
        read_statement(note)


@pytest.mark.parametrize("text", ["", "a+b", "name+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", str(VERIFIER)[:-4]])
def test_verifier_key_that_was_cut_or_altered_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        Verifier.parse(text)


@pytest.mark.parametrize("log", ["", "two words", "a+b"])
def test_log_name_outside_the_format_is_refused(log: str) -> None:
    with pytest.raises(NoteRefused, match="log name"):
        sign_note(Statement(log, 1, 1, bytes(32)), KEY)


def test_split_notes_gives_each_note_and_passes_over_one_cut_off() -> None:
    second = sign_note(Statement("pki.example.com/audit", 2, 18, bytes(32)), KEY)
    text = NOTE + "\n" + NOTE[:40] + "\n" + second + "\n"
    assert list(split_notes(text.splitlines(keepends=True))) == [NOTE, second]
