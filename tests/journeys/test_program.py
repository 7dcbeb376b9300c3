"""From the home page to a certificate by curl, with nothing but what the pages say; and every example of the guide, run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from playwright.sync_api import expect

from certs.models import Certificate, CertificateRequest
from certs.requests.approvals.approval import approve, reject
from certs.views.help.api_guide import examples
from tests.certs.life import walk
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
NAME = "shop.example.com"


def run(text: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **more}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


def assert_installed(folder: Path) -> x509.Certificate:
    """The two files belong together, and the key is its owner's alone."""
    chain = x509.load_pem_x509_certificates((folder / f"{NAME}-fullchain.pem").read_bytes())
    key = load_pem_private_key((folder / f"{NAME}.key").read_bytes(), None)
    assert key.public_key() == chain[0].public_key()
    assert (folder / f"{NAME}.key").stat().st_mode & 0o77 == 0
    chain[0].verify_directly_issued_by(chain[1])
    return chain[0]


def test_token_and_first_certificate_by_curl_as_the_guide_says(visit: Visit, tmp_path: Path) -> None:
    """R6: the documentation was bare Swagger, without an example and without a place to begin."""
    alice = visit()
    alice.open("/tokens/")
    alice.page.get_by_label("Name").fill("deploy pipeline")
    alice.page.get_by_role("button", name="Make the token").click()
    token = alice.page.locator("#secret").text_content() or ""
    assert token.startswith("pkip_")
    expect(alice.page.get_by_text("request and renew, read, for team Web")).to_be_visible()
    alice.follow(alice.page.get_by_role("link", name="How to get a certificate with it"))
    commands = alice.page.locator("#example-first").text_content() or ""
    done = run(commands, tmp_path, PKI=alice.base, PKI_TOKEN=token)
    assert (done.returncode, done.stderr) == (0, done.stderr), done.stderr
    certificate = assert_installed(tmp_path)
    assert Certificate.objects.get().serial_number == f"{certificate.serial_number:x}"
    again = run(commands.partition("# 2.")[2].partition("\n")[2], tmp_path, PKI=alice.base, PKI_TOKEN=token)
    assert (again.returncode, Certificate.objects.count()) == (0, 1)  # safe to send twice


@pytest.fixture
def guide(portal: Portal, live_server: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The examples, and the settings that they need."""
    found = examples(base_url=live_server.url, name="shop.example.com")
    return {name: one.text for name, one in found.items()}, {"PKI": live_server.url, "PKI_TOKEN": portal.token()}


def test_python_example_runs(guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(guide[0]["python"])
    done = run(f"{sys.executable} example.py", tmp_path, **guide[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cert-")
    assert_installed(tmp_path)


@pytest.mark.parametrize("approved", [True, False])
def test_python_example_waits_for_a_person(
    guide: tuple[dict[str, str], dict[str, str]], portal: Portal, settings: Any, tmp_path: Path, *, approved: bool
) -> None:
    """It ended with a KeyError, whatever the approver said."""
    settings.PKI_PORTAL_URL = guide[1]["PKI"]
    text = guide[0]["python"].replace(NAME, f"*.{NAME}").replace("time.sleep(30)", "time.sleep(0.2)")
    (tmp_path / "example.py").write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **guide[1]}
    command = [sys.executable, "example.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as example:
        deadline = time.monotonic() + 20
        while not CertificateRequest.objects.filter(state="awaiting_approval").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        row = CertificateRequest.objects.get()
        if approved:
            approve(row, user=portal.carol, digest=row.digest)
            walk([row.pk])
        else:
            reject(row, user=portal.carol, digest=row.digest, comment="not this one")
        out, err = example.communicate(timeout=20)
    if approved:
        assert (example.returncode, out.startswith("cert-"), err) == (0, True, "")
    else:
        assert (example.returncode, "not this one" in err, out) == (1, True, "")


def test_renewal_example_does_nothing_while_there_is_time(guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    for expected in (1, 1):  # the first run has no certificate yet
        done = run(guide[0]["renew"], tmp_path, **guide[1])
        assert done.returncode == 0, done.stderr
        assert_installed(tmp_path)
        assert Certificate.objects.count() == expected


def unset(text: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """As cron and a terminal run it: a command that fails does not end the script."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **more}
    return subprocess.run(["sh", "-c", text], cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("trouble", ["no portal", "a refused token"])
def test_renewal_example_keeps_the_files_in_use_when_it_fails(
    guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path, trouble: str
) -> None:
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN={NAME}"
    run(f"{make} -keyout {NAME}.key -out {NAME}-fullchain.pem", tmp_path)
    files = [tmp_path / f"{NAME}.key", tmp_path / f"{NAME}-fullchain.pem"]
    before = [file.read_bytes() for file in files]
    settings = guide[1] | ({"PKI": "http://127.0.0.1:9"} if trouble == "no portal" else {"PKI_TOKEN": "pkip_nobody"})
    done = unset(guide[0]["renew"], tmp_path, **settings)
    assert [file.read_bytes() for file in files] == before
    assert done.returncode != 0
    if trouble == "a refused token":
        assert "token" in done.stdout + done.stderr  # what the portal answered, for the mail of cron


@pytest.mark.parametrize("name", ["first", "renew"])
def test_examples_are_run_again_on_the_same_day(guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path, name: str) -> None:
    for count in (1, 2):
        done = run(guide[0][name], tmp_path, **guide[1])
        assert done.returncode == 0, done.stderr
        assert_installed(tmp_path)
        assert Certificate.objects.count() == count
        if name == "renew":
            (tmp_path / f"{NAME}-fullchain.pem").unlink()  # lost: the next run gets another one


def test_first_example_says_why_it_was_refused_and_writes_no_certificate(
    guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    done = unset(guide[0]["first"], tmp_path, **guide[1] | {"PKI_TOKEN": "pkip_nobody"})
    assert "A valid bearer token is needed" in done.stdout
    assert not (tmp_path / f"{NAME}-fullchain.pem").exists()


def test_script_of_the_pipeline_runs(guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    job = yaml.safe_load(guide[0]["gitlab"])["certificate"]
    assert job["variables"]["PKI"] == guide[1]["PKI"]
    done = run("\n".join(job["script"]), tmp_path, CI_PIPELINE_ID="17", **guide[1])
    assert done.returncode == 0, done.stderr
    assert_installed(tmp_path)


def test_other_examples_are_answered(guide: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    answers = {name: run(guide[0][name], tmp_path, **guide[1]) for name in ("words", "vault", "list")}
    assert {name: done.returncode for name, done in answers.items()} == dict.fromkeys(answers, 0)
    assert '"decision": "allow"' in answers["words"].stdout.replace('":"', '": "')
    assert '"audit_reference"' in answers["vault"].stdout
    assert '"certificates"' in answers["list"].stdout


def test_address_beside_the_api_leads_to_the_guide(live_server: Any, client: Any) -> None:
    assert client.get("/api/v1/guide")["Location"] == "/guide/api/"
