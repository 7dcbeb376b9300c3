"""The gate over the stored corpus: verdict, class and time of every case."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from certs.errors import CSRRefused
from certs.x509.csr.gate import read_csr

CORPUS = Path(__file__).resolve().parents[3] / "corpus" / "csr"
CASES: list[dict[str, Any]] = json.loads((CORPUS / "cases.json").read_text())["cases"]
DOMAINS = ("example.test",)
MOST_SECONDS = 2.0


def judge(data: bytes) -> tuple[str, str]:
    """(verdict, class of refusal) as `cases.json` writes them."""
    try:
        return read_csr(data, domains=DOMAINS).verdict, ""
    except CSRRefused as refused:
        return "reject", str(refused.refusal)


def content(case: dict[str, Any]) -> bytes:
    data = (CORPUS / case["file"]).read_bytes()
    return gzip.decompress(data) if case["file"].endswith(".gz") else data


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_corpus_case_gets_its_verdict_class_and_time(case: dict[str, Any]) -> None:
    data = content(case)
    began = time.perf_counter()
    judged = judge(data)
    seconds = time.perf_counter() - began
    assert judged == (case["expect"], case["reason"])
    assert seconds < MOST_SECONDS


def test_corpus_every_file_has_a_case() -> None:
    stored = {path.name for path in CORPUS.iterdir()} - {"cases.json"}
    assert stored == {case["file"] for case in CASES}


def test_corpus_accepted_csr_is_kept_byte_for_byte() -> None:
    data = (CORPUS / "012_good_der_upload.der").read_bytes()
    facts = read_csr(data, domains=DOMAINS)
    assert facts.der == data
    assert facts.dns_names == ("app1.example.test",)
    assert facts.common_name == "app1.example.test"


def test_corpus_upper_case_name_comes_out_lower() -> None:
    facts = read_csr((CORPUS / "014_good_uppercase_name.pem").read_bytes(), domains=DOMAINS)
    assert (facts.common_name, facts.dns_names) == ("app1.example.test", ("app1.example.test",))


def test_corpus_challenge_password_makes_a_csr_not_storable() -> None:
    facts = read_csr((CORPUS / "136_attr_challenge_password.pem").read_bytes(), domains=DOMAINS)
    assert facts.storable is False
    assert "hunter2" not in repr(facts.stripped)


@pytest.mark.parametrize("name", ["001_good_p256.pem", "014_good_uppercase_name.pem"])
def test_corpus_good_csr_for_another_owner_is_refused(name: str) -> None:
    with pytest.raises(CSRRefused) as caught:
        read_csr((CORPUS / name).read_bytes(), domains=("elsewhere.test",))
    assert str(caught.value.refusal) == "forbidden_name"
