"""`make screenshots`: a picture of every page on demo data, in docs/screenshots/, and the list of them.

Fills an empty folder with the year of `manage.py demo_data`, serves it, and visits the pages with
Chromium as a person with a role does. Needs requirements-dev.txt and a Chromium.
`KEPT=FOLDER` takes the demo data from there, or leaves them there, and `ONLY=WORD` takes the
pictures with that word in their name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import django
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
HELD = "held"  # a request that is made for its picture
PASSWORD = "look at the demo only"  # noqa: S105 - of a portal that lives for some minutes on this machine
WIDE, PHONE = (1280, 800), (390, 844)
TALLEST = 1400  # pixels; what is below is left out
COLOURS = 64
_APART = 9  # sum of the three differences
_BEGIN = 60.0  # seconds until the server answers
ENGINEER, OFFICER, ADMIN, NOBODY = "web-shop-engineer", "demo-officer", "demo", ""
Step = Callable[[Page], None]


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture: its file, what it shows, who looks, where, and what they do there first."""

    name: str
    about: str
    who: str
    path: str
    step: Step | None = None
    phone: bool = False
    dark: bool = False


def follow(page: Page, target: Locator) -> None:
    """Click what opens another page."""
    with page.expect_navigation():
        target.click()


def button(name: str) -> Step:
    return lambda page: follow(page, page.get_by_role("button", name=name).first)


def link(name: str) -> Step:
    return lambda page: follow(page, page.get_by_role("link", name=name).first)


def then(*steps: Step) -> Step:
    def all_of_them(page: Page) -> None:
        for step in steps:
            step(page)

    return all_of_them


def fill(label: str, text: str) -> Step:
    return lambda page: page.get_by_label(label).first.fill(text)


def see(text: str) -> Step:
    return lambda page: page.get_by_text(text).first.wait_for(timeout=30_000)


def say(text: str) -> Step:
    return then(fill("Or say it", text), button("Go on"))


def order(text: str) -> Step:
    return then(fill("Your order in words", text), button("Show what would be issued"))


def select_some(page: Page) -> None:
    for box in page.locator("td.select input").all()[:3]:
        box.check()


REFUSED = then(say("Certificate for www.shop.example.com with RSA 2048, key in the vault"), button("Show the plan"))
MANY = order("Issue certificates for api-1 through api-8, P-256, 90 days")
DONE = then(
    order("Issue certificates for node-1 through node-4, P-256, 90 days"),
    button("Issue all 4"),
    see("4 of 4 issued"),
)
PLAN = say("Certificate for www.shop.example.com, P-256, 90 days, key in the vault")
ISSUED = then(PLAN, button("Show the plan"), button("Get the certificate"))
DRAFT = button("Begin with v2.3")
EFFECT = then(
    DRAFT,
    fill("Why does the policy change?", "Shorter validity, as the CA/Browser Forum plans it"),
    lambda page: page.get_by_role("group", name="Validity", exact=True).get_by_label("At most").first.fill("60"),
    fill("Validity, days", "60"),
    button("Save and see what it will do"),
    button("Replay"),
    see("Go on to publishing"),
)
REVOKED = then(
    select_some,
    button("Revoke"),
    lambda page: page.get_by_label("It was replaced").check(),
    button("Show what it will do"),
)


def shots(at: dict[str, str]) -> dict[str, list[Shot]]:
    """Return the pictures by subject. `at` has the addresses of what the demo data hold."""
    one, ca, team = at["certificate"], at["ca"], "/teams/web-shop/"
    return {
        "Signing in": [
            Shot("sign-in", "Sign in", NOBODY, "/login/"),
            Shot("sign-in-phone", "Sign in, on a phone", NOBODY, "/login/", phone=True),
            Shot("second-factors", "Password, second factors and passkeys", ENGINEER, "/account/security/"),
            Shot("second-factor-app", "Add an app that makes codes", ENGINEER, "/account/security/app/"),
        ],
        "A requester": [
            Shot("home", "What needs the team now", ENGINEER, "/"),
            Shot("home-phone", "The same, on a phone", ENGINEER, "/", phone=True),
            Shot("home-dark", "The same, in the dark theme", ENGINEER, "/", dark=True),
            Shot("new", "Where will the certificate be used?", ENGINEER, "/new/"),
            Shot("new-phone", "The same, on a phone", ENGINEER, "/new/", phone=True),
            Shot(
                "new-draft",
                "The draft: names, key, and the command for the server",
                ENGINEER,
                "/new/",
                say("https for www.shop.example.com on nginx"),
            ),
            Shot("new-refused", "A plan that the policy refuses, and what would pass", ENGINEER, "/new/", REFUSED),
            Shot("new-plan", "The plan, with every default", ENGINEER, "/new/", then(PLAN, button("Show the plan"))),
            Shot("new-csr", "With a CSR that is there already", ENGINEER, "/new/csr/"),
            Shot("new-automatic", "Certificates that a program fetches", ENGINEER, "/new/automatic/"),
            Shot("words", "What sentences are understood", ENGINEER, "/words/"),
            Shot("requests", "The requests of the team", ENGINEER, "/requests/"),
            Shot("request-ready", "A request with its certificate", ENGINEER, "/new/", then(ISSUED, see("Signed."))),
            Shot("request-waiting", "A request that waits for an approval", ENGINEER, at["waiting"]),
            Shot("request-waiting-phone", "The same, on a phone", ENGINEER, at["waiting"], phone=True),
            Shot("request-held", "A request that is held, because the key store does not answer", ENGINEER, HELD, see("Nothing is lost")),
        ],
        "A certificate": [
            Shot("certificate", "Overview", ENGINEER, one),
            Shot("certificate-phone", "The same, on a phone", ENGINEER, one, phone=True),
            Shot("certificate-dark", "The same, in the dark theme", ENGINEER, one, dark=True),
            Shot("certificate-install", "How to install it", ENGINEER, f"{one}install/"),
            Shot("certificate-renewals", "Its renewals", ENGINEER, f"{one}renewals/"),
            Shot("certificate-history", "Its history", ENGINEER, f"{one}history/"),
            Shot("certificate-technical", "Every field of it", ENGINEER, f"{one}technical/"),
            Shot("certificate-owner", "Owner and purpose", ENGINEER, f"{one}describe/"),
            Shot("renew", "Renew", ENGINEER, f"{one}renew/"),
            Shot("revoke", "Revoke", ENGINEER, f"{one}revoke/"),
        ],
        "Many certificates": [
            Shot("bulk-new", "An order of many: where will the keys be, and how is it ordered?", ENGINEER, "/bulk/new/?keys=store"),
            Shot("bulk-draft", "Its draft: every line is judged first", ENGINEER, "/bulk/new/?keys=store", MANY),
            Shot("bulk-order", "The order when it is done", ENGINEER, "/bulk/new/?keys=store", DONE),
            Shot("bulk", "The orders so far", ENGINEER, "/bulk/"),
        ],
        "Account and help": [
            Shot("account", "The account", ENGINEER, "/account/"),
            Shot("mails", "Which mails one gets", ENGINEER, "/account/mails/"),
            Shot("tokens", "API tokens", ENGINEER, "/tokens/"),
            Shot("api-guide", "The guide to the API", ENGINEER, "/guide/api/"),
            Shot("trust", "How computers come to trust the CA", ENGINEER, "/trust/"),
        ],
        "Teams and people": [
            Shot("teams", "The teams", OFFICER, "/teams/"),
            Shot("team", "A team and its names", ENGINEER, team),
            Shot("team-people", "Its people", ENGINEER, f"{team}people/"),
            Shot("team-certificates", "Its certificates by owner", ENGINEER, f"{team}certificates/"),
            Shot("team-tokens", "Its API tokens", ENGINEER, f"{team}tokens/"),
            Shot("team-mails", "Its mails", ENGINEER, f"{team}mails/"),
            Shot("team-webhooks", "Its webhooks", ENGINEER, f"{team}webhooks/"),
            Shot("team-domain", "Ask for a domain", ENGINEER, f"{team}ask-for-domain/"),
            Shot("people", "People", OFFICER, "/people/"),
            Shot("person", "A person: teams, roles, certificates", OFFICER, at["person"]),
            Shot("person-remove", "Remove a person's access, and who gets the certificates", OFFICER, f"{at['person']}remove/"),
            Shot("person-factors", "A person's second factors", OFFICER, at["factors"]),
            Shot("invite", "Invite a person", OFFICER, "/invite/"),
        ],
        "The security team: inventory": [
            Shot("certificates", "All certificates", OFFICER, "/certificates/"),
            Shot("certificates-phone", "The same, on a phone", OFFICER, "/certificates/", phone=True),
            Shot("certificates-dark", "The same, in the dark theme", OFFICER, "/certificates/", dark=True),
            Shot("act-options", "A bulk act begins", OFFICER, "/certificates/", then(select_some, button("Revoke"))),
            Shot("act-preview", "What it will do to each certificate", OFFICER, "/certificates/", REVOKED),
            Shot("register", "The register for auditors", OFFICER, "/register/"),
        ],
        "The security team: decisions": [
            Shot("inbox", "The inbox", OFFICER, "/inbox/"),
            Shot("inbox-phone", "The same, on a phone", OFFICER, "/inbox/", phone=True),
            Shot("approval", "A decision, with what the policy says", OFFICER, "/inbox/", link("Approve or reject")),
            Shot("approval-dark", "The same, in the dark theme", OFFICER, "/inbox/", link("Approve or reject"), dark=True),
            Shot("deputy", "A deputy for the holidays", OFFICER, "/inbox/deputy/"),
            Shot("alerts", "Alerts", OFFICER, "/alerts/"),
        ],
        "The security team: estate and reports": [
            Shot("estate", "What ends, and what is not renewed", OFFICER, "/estate/"),
            Shot("estate-dark", "The same, in the dark theme", OFFICER, "/estate/", dark=True),
            Shot("estate-phone", "The same, on a phone", OFFICER, "/estate/", phone=True),
            Shot("readiness", "Is the estate ready for shorter validity?", OFFICER, "/estate/readiness/"),
            Shot("reports", "The weekly reports", OFFICER, "/reports/"),
            Shot("report", "A report", OFFICER, at["report"]),
            Shot("machinery", "Schedules, queues and what stands still", OFFICER, "/machinery/"),
        ],
        "The security team: policy": [
            Shot("policy", "The policy in force, and its versions in time", OFFICER, "/policy/"),
            Shot("policy-new", "Begin a change", OFFICER, "/policy/new/"),
            Shot("policy-draft", "The draft, rule by rule", OFFICER, "/policy/new/", DRAFT),
            Shot("policy-effect", "What the draft would do to the estate", OFFICER, "/policy/new/", EFFECT),
            Shot("waivers", "Waivers", OFFICER, "/policy/waivers/"),
            Shot("waiver-new", "Ask for a waiver", OFFICER, "/policy/waivers/new/"),
        ],
        "The security team: CAs": [
            Shot("cas", "The CAs", OFFICER, "/cas/"),
            Shot("ca", "A CA", OFFICER, ca),
            Shot("ca-add", "Add a CA", OFFICER, "/cas/additions/new/?kind=rest"),
            Shot("ca-reissue", "Replace every certificate of a CA: the plan", OFFICER, f"{ca}reissue/"),
        ],
        "Audit": [
            Shot("audit", "The audit log", OFFICER, "/audit/"),
            Shot("audit-phone", "The same, on a phone", OFFICER, "/audit/", phone=True),
            Shot("audit-consistency", "Was the log changed? The seals and their proof", OFFICER, "/audit/consistency/"),
        ],
        "Administration": [
            Shot("admin", "The admin", ADMIN, "/admin/"),
            Shot("admin-list", "A list of the admin", ADMIN, "/admin/certs/certificate/"),
        ],
    }


def prepare() -> dict[str, str]:
    """Give the demo accounts a password and roles, and hold a request. Returns addresses of the demo data."""
    django.setup()
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - after the setup, as all models
    from django.contrib.auth.models import Group  # noqa: PLC0415

    from certs.models import Certificate, CertificateRequest, Issuer, Team  # noqa: PLC0415
    from certs.reports.weeks import Week  # noqa: PLC0415
    from db.clock import database_now  # noqa: PLC0415

    users = get_user_model().objects
    officer, _made = users.get_or_create(username=OFFICER, defaults={"email": f"{OFFICER}@example.com"})
    officer.groups.set(Group.objects.filter(name__in=["security officer", "approver", "operator"]))
    for name in (ENGINEER, OFFICER, ADMIN):
        person = users.get(username=name)
        person.set_password(PASSWORD)
        person.save()
    team, now = Team.objects.get(slug="web-shop"), database_now()
    wildcards = CertificateRequest.objects.filter(team=team, common_name__startswith="*.").order_by("-pk")
    waiting = wildcards.filter(state="awaiting_approval")[0]
    living = Certificate.objects.filter(team=team, status=Certificate.Status.GOOD, not_after__gt=now)
    one = living.filter(request__renewed_from__isnull=False).order_by("-not_after").first() or living.order_by("-not_after")[0]
    colleague = users.get(username="payments-engineer")
    return {
        "waiting": f"/requests/{waiting.public_id}/",
        "certificate": f"/certificates/{one.cert_id}/",
        "ca": f"/cas/{Issuer.objects.get(name='Internal-CA-Prod').slug}/",
        "person": f"/people/{colleague.pk}/",
        "factors": f"/account/security/of/{colleague.pk}/",
        "report": f"/reports/{Week.of(now).plus(-1)}/",
    }


def hold() -> str:
    """Make a request that waits for the key store, as after an outage. Returns its address; the portal soon goes on with it."""
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - after the setup, as all models

    from audit.log import Actor  # noqa: PLC0415
    from certs.enums import RequestState  # noqa: PLC0415
    from certs.issuance.advance import advance  # noqa: PLC0415
    from certs.models import CertificateRequest, Team  # noqa: PLC0415
    from certs.requests.plan import plan_words  # noqa: PLC0415
    from certs.requests.submit import Requester, submit_many  # noqa: PLC0415
    from certs.requests.waiting import hold_for_keys  # noqa: PLC0415
    from certs.spec import IssuePlan  # noqa: PLC0415

    user = get_user_model().objects.get(username=ENGINEER)
    requester = Requester(Actor("user", ENGINEER), Team.objects.get(slug="web-shop"), "portal", user)
    plan = plan_words("Certificate for stock.shop.example.com, P-256", requester=requester)
    if not isinstance(plan, IssuePlan):
        raise TypeError("The sentence asks for a certificate.")
    submit_many(plan.specs, requester=requester)
    row = CertificateRequest.objects.latest("pk")
    advance([row.pk], until=RequestState.APPROVED)
    hold_for_keys([row.pk], "connection refused")
    return f"/requests/{row.public_id}/"


@contextmanager
def served(port: int) -> Iterator[str]:
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        end = time.monotonic() + _BEGIN
        while not answers(f"{base}/healthz"):
            if time.monotonic() > end or server.poll() is not None:
                server.terminate()
                raise TimeoutError("The portal does not start.")
            time.sleep(0.3)
        try:
            yield base
        finally:
            server.terminate()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - http of this machine
            return True
    except (urllib.error.URLError, OSError):
        return False


def with_few_colours(picture: Image.Image) -> Image.Image:
    """Return it with its most frequent colours that can be told apart, exactly as they are: surfaces keep theirs.

    Pillow's `quantize` looks up neighbours in steps of four: a white surface becomes a grey one of the palette.
    """
    pixels = list(zip(*[iter(picture.tobytes())] * 3, strict=True))
    kept: list[tuple[int, ...]] = []
    place: dict[tuple[int, ...], int] = {}
    for colour, _count in Counter(pixels).most_common():
        nearest = min(range(len(kept)), key=lambda number: distance(colour, kept[number]), default=0)
        if len(kept) < COLOURS and (not kept or distance(colour, kept[nearest]) > _APART):
            nearest = len(kept)
            kept.append(colour)
        place[colour] = nearest
    few = Image.frombytes("P", picture.size, bytes(place[pixel] for pixel in pixels))
    few.putpalette([part for colour in kept for part in colour])
    return few


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(abs(x - y) for x, y in zip(one, other, strict=True))


class Camera:
    """Windows of the people, one for each way to look."""

    def __init__(self, browser: Browser, base: str) -> None:
        self._browser, self._base = browser, base
        self._pages: dict[tuple[str, bool, bool], Page] = {}

    def take(self, shot: Shot, path: str) -> None:
        page = self._window(shot.who, phone=shot.phone, dark=shot.dark)
        page.goto(self._base + path)
        if shot.step:
            shot.step(page)
        page.wait_for_load_state()
        size = page.viewport_size or {"width": WIDE[0], "height": WIDE[1]}
        height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > size["width"]:
            print(f"{shot.name}: {wide} pixels wide, in a window of {size['width']}")
        file = FOLDER / f"{shot.name}.png"
        # A window as tall as the page, so that what keeps to its lower edge stands at the end.
        page.set_viewport_size({"width": size["width"], "height": max(height, size["height"])})
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=file)
        page.set_viewport_size(size)
        with Image.open(file) as picture:
            few = with_few_colours(picture.convert("RGB"))
        few.save(file, optimize=True)

    def _window(self, who: str, *, phone: bool, dark: bool) -> Page:
        if (who, phone, dark) not in self._pages:
            width, height = PHONE if phone else WIDE
            context = self._browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
            context.set_default_timeout(15_000)
            page = context.new_page()
            if who:
                page.goto(f"{self._base}/login/")
                page.get_by_label("User name").fill(who)
                page.get_by_label("Password").fill(PASSWORD)
                button("Sign in")(page)
            self._pages[who, phone, dark] = page
        return self._pages[who, phone, dark]


def list_of(subjects: dict[str, list[Shot]]) -> str:
    """Return the README of the folder: what each picture shows, by subject."""
    lines = ["# The pages, on demo data", "", f"Taken by `make screenshots`. Of a long page the first {TALLEST} pixels are shown."]
    for subject, found in subjects.items():
        lines += ["", f"## {subject}", "", *(f"- [{shot.name}]({shot.name}.png): {shot.about}" for shot in found)]
    return "\n".join(lines) + "\n"


def main() -> int:
    kept, only = os.environ.get("KEPT"), os.environ.get("ONLY", "")
    home = Path(kept or tempfile.mkdtemp(prefix="pki-screenshots-"))
    os.environ["PKI_HOME"] = str(home)
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop runs in this thread, and does nothing meanwhile
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pkiportal.settings.embedded")
    sys.path.insert(0, str(ROOT))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if not (home / "portal.sqlite3").exists():
        subprocess.run([sys.executable, str(ROOT / "manage.py"), "demo_data", "--certificates", "200"], check=True)
    at = prepare()
    subjects = shots(at)
    FOLDER.mkdir(exist_ok=True)
    bad = 0
    chromium = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    with served(port) as base, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        camera = Camera(browser, base)
        for shot in (shot for found in subjects.values() for shot in found if only in shot.name):
            try:
                camera.take(shot, hold() if shot.path == HELD else shot.path)
            except PlaywrightError as exc:
                bad += 1
                print(f"{shot.name}: {exc}")
        browser.close()
    (FOLDER / "README.md").write_text(list_of(subjects), encoding="utf-8")
    if not kept:
        shutil.rmtree(home)
    return bad and 1


if __name__ == "__main__":
    sys.exit(main())
