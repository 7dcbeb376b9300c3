"""Keys in the database: a batch costs what one costs, the first worker's key stays, the key-encryption key is made on purpose."""

from __future__ import annotations

import stat
import threading
import uuid
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keys.backends.base import KeyInfo
from keys.backends.kek import KeyEncryptionKey
from keys.backends.local import LocalKeyBackend
from keys.errors import KeyBackendUnavailable, KeyMismatch, UnsupportedKeySpec
from keys.models import LocalKeyMaterial
from keys.signing import sign_message
from keys.spec import KeySpec, spki_sha256

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
FAST = KeySpec.EC_P256


@pytest.fixture
def backend(tmp_path: Path) -> LocalKeyBackend:
    made = LocalKeyBackend("own", kek_file=tmp_path / "kek")
    made.set_up()
    return made


def order(spec: KeySpec = FAST) -> tuple[str, KeySpec, uuid.UUID]:
    return (f"k-{uuid.uuid4().hex[:8]}", spec, uuid.uuid4())


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite rows go by the ORM, which writes them in parts")
def test_batch_costs_as_many_statements_as_a_small_one(backend: LocalKeyBackend) -> None:
    costs = []
    backend.create_many([order() for _ in range(200)])  # the first COPY asks for the columns' types
    for size in (3, 200):
        with CaptureQueriesContext(connection) as queries:
            results = backend.create_many([order() for _ in range(size)])
        assert all(isinstance(result, KeyInfo) for result in results)
        costs.append(len(queries))
    # A COPY of many rows is not among Django's queries; the INSERT of a few is one.
    assert costs[1] <= costs[0]
    assert LocalKeyMaterial.objects.count() == 403


def test_every_key_of_a_batch_signs_and_is_the_one_that_was_answered(backend: LocalKeyBackend) -> None:
    made = [one for one in backend.create_many([order() for _ in range(40)]) if isinstance(one, KeyInfo)]
    assert len({spki_sha256(one.public_key) for one in made}) == 40
    for one in made:
        key = backend.private_key(one.ref)
        assert key.public_key() == one.public_key
        assert sign_message(key, b"tbs")


def test_worker_that_comes_second_answers_with_the_first_ones_key(backend: LocalKeyBackend) -> None:
    name, spec, claim = order()
    first = backend.create(name, spec, key_id=claim)
    other, _, fresh = order()
    # Both looked before either stored: what follows is what the second one does then.
    made = backend._make([(name, 1, None, spec, claim), (other, 1, None, spec, fresh)])
    second, third = made[claim], made[fresh]
    assert isinstance(second, KeyInfo)
    assert isinstance(third, KeyInfo)
    assert second.public_key == first.public_key
    assert backend.private_key(third.ref).public_key() == third.public_key


def test_rotation_that_comes_second_is_refused(backend: LocalKeyBackend) -> None:
    name, spec, claim = order()
    first = backend.create(name, spec, key_id=claim)
    backend.rotate(first.ref, from_version=1, key_id=uuid.uuid4())
    late = uuid.uuid4()
    made = backend._make([(name, 2, claim, spec, late)])[late]
    assert "rotated" in str(made)
    assert LocalKeyMaterial.objects.filter(key_id=late).count() == 0


def test_kind_that_is_not_made_fails_alone(backend: LocalKeyBackend) -> None:
    results = backend.create_many([order(), order(KeySpec.ML_DSA_65), order(KeySpec.ED25519)])
    assert [type(result) for result in results] == [KeyInfo, UnsupportedKeySpec, KeyInfo]


def test_nothing_but_set_up_makes_the_key_encryption_key(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    backend = LocalKeyBackend("own", kek_file=file)
    assert backend.is_working() is False
    with pytest.raises(KeyBackendUnavailable, match="missing"):
        backend.create("x", FAST, key_id=uuid.uuid4())
    assert list(tmp_path.iterdir()) == []
    assert "own" in backend.set_up()
    assert backend.set_up() == ""
    assert backend.is_working() is True
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()] == [("kek", 0o600)]


def test_lost_or_offline_key_encryption_key_is_not_made_anew(backend: LocalKeyBackend, tmp_path: Path) -> None:
    backend.create("x", FAST, key_id=uuid.uuid4())
    (tmp_path / "kek").unlink()
    later = LocalKeyBackend("own", kek_file=tmp_path / "kek")
    assert later.set_up() == ""  # bootstrap may run again while the root's is offline
    with pytest.raises(KeyBackendUnavailable, match="missing"):
        later.create("y", FAST, key_id=uuid.uuid4())
    assert list(tmp_path.iterdir()) == []


def test_wrong_key_encryption_key_makes_and_opens_nothing_until_the_right_one_is_back(backend: LocalKeyBackend, tmp_path: Path) -> None:
    made = backend.create("x", FAST, key_id=uuid.uuid4())
    right = (tmp_path / "kek").rename(tmp_path / "right")
    LocalKeyBackend("other", kek_file=tmp_path / "kek").set_up()
    later = LocalKeyBackend("own", kek_file=tmp_path / "kek")
    assert later.is_working() is False  # else the sweeper would release what waits, at each turn
    for act in (lambda: later.private_key(made.ref), lambda: later.create("y", FAST, key_id=uuid.uuid4())):
        with pytest.raises(KeyBackendUnavailable, match="made under"):
            act()
    assert LocalKeyMaterial.objects.count() == 1
    right.rename(tmp_path / "kek")
    assert later.is_working() is True  # without a restart
    assert later.private_key(made.ref).public_key() == made.public_key


def test_row_that_was_changed_is_final_and_not_the_key_encryption_keys_fault(backend: LocalKeyBackend) -> None:
    made = backend.create("x", FAST, key_id=uuid.uuid4())
    LocalKeyMaterial.objects.update(ciphertext=b"something else, long enough")
    with pytest.raises(KeyMismatch, match="was changed"):
        backend.private_key(made.ref)
    assert backend.is_working() is True


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyBackendUnavailable, match="cannot be written"):
        LocalKeyBackend("own", kek_file=tmp_path / "no" / "kek").set_up()


def test_of_two_that_make_it_at_once_one_stays(tmp_path: Path) -> None:
    file, together = tmp_path / "kek", threading.Barrier(8)
    kept: list[str] = []

    def make() -> None:
        kek = KeyEncryptionKey("own", file=file)
        together.wait(timeout=60)
        kek.make(key_exists=False)
        kept.append(kek.id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(kept), len(set(kept))) == (8, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["kek"]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe", b"AAAA"], ids=["empty", "no base64", "no ascii", "too short"])
def test_file_that_is_no_key_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kek").write_bytes(content)
    backend = LocalKeyBackend("own", kek_file=tmp_path / "kek")
    assert backend.is_working() is False
    assert backend.set_up() == ""
    with pytest.raises(KeyBackendUnavailable):
        backend.create("x", FAST, key_id=uuid.uuid4())
    assert (tmp_path / "kek").read_bytes() == content
