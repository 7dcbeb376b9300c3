"""The stored corpus of CSRs, as one zip: every case gets the verdict that the gate gives it alone, and loses no other."""

from __future__ import annotations

import zipfile

from tests.certs.uploads.examples import read, upload, zipped
from tests.certs.x509.csr.test_corpus import CASES, content

FILES = {case["file"].removesuffix(".gz"): content(case) for case in CASES}
# In a zip, what is no CSR by its ending and content is told so without the gate.
NOT_CSRS = {"170_file_zip.zip"}


def test_corpus_as_a_zip_gets_the_verdicts_of_the_gate() -> None:
    lines = {line.source: line for line in upload(zipped(FILES, zipfile.ZIP_STORED))}
    assert set(lines) == set(FILES)
    accepted = {case["file"].removesuffix(".gz") for case in CASES if case["expect"] != "reject"}
    assert {name for name, line in lines.items() if line.spec} == accepted
    classes = {case["file"].removesuffix(".gz"): case["reason"] for case in CASES}
    assert {name: line.problem_class for name, line in lines.items()} == classes | dict.fromkeys(NOT_CSRS, "")
    assert all(bool(line.problem) == (line.spec is None) for line in lines.values())


def test_corpus_as_one_text_loses_no_good_csr() -> None:
    pems = [
        data for name, data in FILES.items() if name.endswith(".pem") and len(data) < 60_000 and data.isascii() and b"-----BEGIN" in data
    ]
    good = sorted(line.spec.common_name for data in pems for line in read(data) if line.spec)
    together = sorted(line.spec.common_name for line in read(b"\n".join(pems)) if line.spec)
    assert together == good
