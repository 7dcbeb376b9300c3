"""What every way of running the portal shares. `embedded`, `production` and `test` start from here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from kombu import Queue

from pkiportal.env import (
    env_address,
    env_bool,
    env_certificates,
    env_choice,
    env_domains,
    env_emails,
    env_folder,
    env_int,
    env_issuer,
    env_name,
    env_networks,
    env_path,
    env_roles,
    env_scopes,
    env_secret,
    env_sender,
    env_str,
    env_suffixes,
    env_together,
    env_token,
    env_witnesses,
    refused,
)
from pkiportal.logs import LEVELS, logging_settings
from pkiportal.web.served import Serve

BASE_DIR = Path(__file__).resolve().parent.parent.parent

INSTALLED_APPS = [
    "pkiportal",
    "pkiportal.web.admin_config.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_htmx",
    "ninja",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "audit",
    "keys",
    "policy",
    "certs",
]

MIDDLEWARE = [
    "pkiportal.web.middleware.OnePolicy",
    "pkiportal.monitoring.machine_endpoints.MachineEndpoints",
    "pkiportal.monitoring.machine_endpoints.OwnPaths",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "pkiportal.web.middleware.ApiMethods",
    "pkiportal.web.middleware.RefuseHuge",
    "pkiportal.web.middleware.PageSessions",
    "django.middleware.common.CommonMiddleware",
    "pkiportal.web.middleware.RefuseNul",
    "django.middleware.csrf.CsrfViewMiddleware",
    "pkiportal.web.middleware.PageUsers",
    "pkiportal.web.middleware.PageMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "pkiportal.web.middleware.RequireSecondFactor",
    "pkiportal.web.middleware.Outages",
]

ROOT_URLCONF = "pkiportal.urls"
WSGI_APPLICATION = "pkiportal.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "certs.views.navigation.navigation",
                "certs.views.account.account.reader",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
FORMAT_MODULE_PATH = ["pkiportal.formats"]
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
] + [{"NAME": "certs.access.leaving.EndTokensOfOldPassword"}]

# --- Sign-in with django-allauth. Limits on guessing are the portal's own (`certs.access.login_limits`), in the database. ---
ACCOUNT_RATE_LIMITS = False
PASSWORD_RESET_TIMEOUT = 3600
# Whoever has one of these roles adds a second factor before anything else; `administrator` are superusers.
PKI_SECOND_FACTOR_ROLES = env_roles("PKI_SECOND_FACTOR_ROLES")
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "certs.views.sign_in.account_adapter.AccountAdapter"
ACCOUNT_FORMS = {"reauthenticate": "certs.views.sign_in.forms.PasswordAgain"}
MFA_FORMS = {
    "authenticate": "certs.views.sign_in.forms.CodeForm",
    "reauthenticate": "certs.views.sign_in.forms.CodeAgain",
    "activate_totp": "certs.views.sign_in.forms.NewApp",
    "authenticate_webauthn": "certs.views.sign_in.forms.PasskeyForm",
    "reauthenticate_webauthn": "certs.views.sign_in.forms.PasskeyAgain",
    "login_webauthn": "certs.views.sign_in.forms.PasskeySignIn",
    "add_webauthn": "certs.views.sign_in.forms.NewPasskey",
    "generate_recovery_codes": "certs.views.sign_in.forms.NewRecoveryCodes",
}
MFA_ADAPTER = "certs.access.sign_in.second_factor_adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "PKI Portal"
MFA_TOTP_TOLERANCE = 1  # a clock may be 30 seconds off (RFC 6238 5.2)
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_RATE_LIMITS = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False  # an address is no identity: `sub` is (OpenID Connect Core 5.7)

# An identity provider (OpenID Connect): docs/sign-in.md. The secret comes from PKI_OIDC_CLIENT_SECRET or PKI_OIDC_CLIENT_SECRET_FILE.
PKI_OIDC_ISSUER = env_issuer("PKI_OIDC_ISSUER")
PKI_OIDC_CLIENT_ID = env_str("PKI_OIDC_CLIENT_ID")
PKI_OIDC_CLIENT_SECRET = env_secret("PKI_OIDC_CLIENT_SECRET")
PKI_OIDC_NAME = env_name("PKI_OIDC_NAME", "the company sign-in")
PKI_OIDC_SCOPES = env_scopes("PKI_OIDC_SCOPES", "openid,profile,email")
PKI_OIDC_GROUPS_CLAIM = env_name("PKI_OIDC_GROUPS_CLAIM", "groups")
PKI_OIDC_CA_BUNDLE = env_certificates("PKI_OIDC_CA_BUNDLE")
# Does a person of a mapped group get an account at the first sign-in?
PKI_OIDC_SIGN_UP = env_bool("PKI_OIDC_SIGN_UP", default=False)
# Is an account linked to the person whose address the provider has verified? Only for a provider that lets nobody choose an address.
PKI_OIDC_LINK_VERIFIED_EMAIL = env_bool("PKI_OIDC_LINK_VERIFIED_EMAIL", default=False)
if PKI_OIDC_ISSUER and not (PKI_OIDC_CLIENT_ID and PKI_OIDC_CLIENT_SECRET):
    raise refused("PKI_OIDC_ISSUER", "needs PKI_OIDC_CLIENT_ID and PKI_OIDC_CLIENT_SECRET (or PKI_OIDC_CLIENT_SECRET_FILE) beside it.")
env_together("PKI_OIDC_CLIENT_ID", PKI_OIDC_CLIENT_ID, "PKI_OIDC_ISSUER", PKI_OIDC_ISSUER)
env_together("PKI_OIDC_CLIENT_SECRET", PKI_OIDC_CLIENT_SECRET, "PKI_OIDC_ISSUER", PKI_OIDC_ISSUER)
SOCIALACCOUNT_ADAPTER = "certs.views.sign_in.identity_adapter.IdentityAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"provider_class": "certs.views.sign_in.identity_provider.Provider", "OAUTH_PKCE_ENABLED": True}
}
SOCIALACCOUNT_SOCIALACCOUNT_STR = "{0.provider}:{0.uid}".format  # the library's text needs the provider to be there still

# One strict policy for every page, the admin included: nothing inline, nothing from elsewhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "pkiportal.web.error_pages.too_old"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024  # above every corpus of hostile CSRs, so that the CSR gate can name the reason

LOGGING = logging_settings(env_choice("PKI_LOG_LEVEL", "WARNING", choices=LEVELS))

# --- Celery: at least once, one message at a time, no results (progress is read from the database) ---
# JSON only: write access to the broker must not run code by a pickle, in a message or elsewhere.
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 270
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "pkiportal.processes.beat.LeaderScheduler"
CELERY_TASK_DEFAULT_QUEUE = "workflow"
# A worker looks at its queues in this order, so whatever is in a bulk queue waits for everything else.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"queue_order_strategy": "priority"}
_BULK_ROOMS = ("workflow", "policy", "keys", "ca", "ca-remote", "inventory")
CELERY_TASK_QUEUES = [
    *(Queue(name) for name in ("workflow", "policy", "keys", "ca", "ca-remote", "inventory", "audit", "mail", "destroy")),
    *(Queue(f"{room}-bulk") for room in _BULK_ROOMS),
]
CELERY_TASK_ROUTES = {
    "certs.tasks.check_policy": {"queue": "policy"},
    "certs.tasks.ensure_keys": {"queue": "keys"},
    "certs.tasks.create_csrs": {"queue": "keys"},
    "certs.tasks.make_chunk": {"queue": "keys"},
    "certs.tasks.submit_to_ca": {"queue": "ca"},
    "certs.tasks.issue_chunk": {"queue": "ca"},
    # CAs that are called over the network have workers of their own: one that hangs delays no own CA.
    "certs.tasks.submit_to_remote_ca": {"queue": "ca-remote"},
    "certs.tasks.sweep_remote_ca": {"queue": "ca-remote"},
    "certs.tasks.reconcile_remote_ca": {"queue": "ca-remote"},
    "certs.tasks.connect_ca": {"queue": "ca-remote"},
    "certs.tasks.test_ca": {"queue": "ca-remote"},
    "certs.tasks.revoke_ca_test": {"queue": "ca-remote"},
    "certs.tasks.process_revocations": {"queue": "ca"},
    "certs.tasks.sweep_ca": {"queue": "ca"},
    "certs.tasks.publish_status": {"queue": "ca"},
    "certs.tasks.reconcile_cas": {"queue": "ca"},
    "certs.tasks.sweep_keys": {"queue": "keys"},
    "certs.tasks.destroy_keys": {"queue": "destroy"},
    "certs.tasks.record_inventory": {"queue": "inventory"},
    "certs.tasks.count_states": {"queue": "inventory"},
    "certs.tasks.replay_policy": {"queue": "inventory"},
    "certs.tasks.hand_over_certificates": {"queue": "inventory"},
    "certs.tasks.judge_day": {"queue": "inventory"},
    "certs.tasks.keep_verdicts": {"queue": "inventory"},
    "certs.tasks.forecast_reissue": {"queue": "inventory-bulk"},
    "certs.tasks.count_reissues": {"queue": "inventory"},
    "certs.tasks.send_notifications": {"queue": "mail"},
    "certs.tasks.deliver_webhooks": {"queue": "mail"},
    # Like webhooks: from the workers whose network leads out, never from the web process.
    "certs.tasks.look_at_place": {"queue": "mail"},
    "certs.tasks.look_again": {"queue": "mail"},
    "certs.tasks.tell_trust_changes": {"queue": "mail"},
    "certs.tasks.ask_witnesses": {"queue": "mail"},
    "certs.tasks.send_password_reset": {"queue": "mail"},
    "audit.tasks.*": {"queue": "audit"},
    "certs.tasks.verify_records": {"queue": "audit"},  # its worker has the checkpoints' files
}
# Written to the database by `bootstrap`, where the security team may change them in the admin.
PKI_SCHEDULES = {
    "audit: seal new events": {"task": "audit.tasks.seal", "every_seconds": 5},
    "audit: ask witnesses to cosign": {"task": "certs.tasks.ask_witnesses", "every_seconds": 60},
    # The work of a dead worker goes on within PKI_ATTEMPT_LEASE_SECONDS and this, which is to be less than a minute.
    "workflow: start again what stands still": {"task": "certs.tasks.sweep", "every_seconds": 5},
    "workflow: bulk orders": {"task": "certs.tasks.sweep_bulk", "every_seconds": 10},
    "workflow: forget old drafts": {"task": "certs.tasks.forget_old_drafts", "every_seconds": 3600},
    "workflow: clear up at CAs and resume": {"task": "certs.tasks.sweep_ca", "every_seconds": 15},
    "status: CRLs and OCSP responders": {"task": "certs.tasks.publish_status", "every_seconds": 15},
    "workflow: resume when keys are back": {"task": "certs.tasks.sweep_keys", "every_seconds": 15},
    "keys: destroy what is to be destroyed": {"task": "certs.tasks.destroy_keys", "every_seconds": 60},
    # As often as `certs.renewal.budget.EVERY`: a run begins what its CA is to do until the next.
    "certificates: renew what cannot wait for the night": {
        "task": "certs.tasks.renew_due",
        "every_seconds": 900,
    },
    "sign-in: sum up what was tried": {
        "task": "certs.tasks.close_sign_in_windows",
        "every_seconds": 60,
    },
    "database: delete what is not needed any more": {"task": "certs.tasks.clean_up", "every_seconds": 3600},
    # Once a day, and again when another version of the policy is in force.
    "estate: judge compliance": {"task": "certs.tasks.judge_day", "every_seconds": 3600},
    "inventory: judge by the policy in force": {"task": "certs.tasks.keep_verdicts", "every_seconds": 60},
    "inventory: count the states": {"task": "certs.tasks.count_states", "every_seconds": 60},
    "CAs: progress of re-issues": {"task": "certs.tasks.count_reissues", "every_seconds": 15},
    "notifications: send what is due": {"task": "certs.tasks.send_notifications", "every_seconds": 10},
    "certificates: look whether renewals are installed": {
        "task": "certs.tasks.look_again",
        "every_seconds": 900,
    },
    "notifications: changes of the root certificates": {
        "task": "certs.tasks.tell_trust_changes",
        "every_seconds": 3600,
    },
    "notifications: deliver webhooks": {"task": "certs.tasks.deliver_webhooks", "every_seconds": 10},
}
PKI_CRONTABS: dict[str, dict[str, Any]] = {
    "audit: verify the log and what it explains": {"task": "certs.tasks.verify_records", "crontab": {"minute": "13", "hour": "4"}},
    "status: certificates at CAs that nobody knows": {"task": "certs.tasks.reconcile_cas", "crontab": {"minute": "17", "hour": "3"}},
    "certificates: renew what is due": {"task": "certs.tasks.check_expiry", "crontab": {"hour": "2", "minute": "0"}},
    "reports: weekly compliance report": {
        "task": "certs.tasks.weekly_report",
        "crontab": {"day_of_week": "1", "hour": "9", "minute": "0"},
    },
}

# SQLite leaves out the covering columns of an index, and reports that at each command.
SILENCED_SYSTEM_CHECKS = ["models.W040"]

# --- The portal ---
# The address in certificates and CRLs (CRL, OCSP, CA certificate), permanently. Plain http: a client that verifies a certificate cannot
# verify the server's own first (RFC 5280 8). RFC 5280 4.2.1.6 wants a full domain name or an IP address there, so not "localhost".
PKI_BASE_URL = env_address("PKI_BASE_URL", "http://127.0.0.1:8000", schemes=["http"], example="http://pki.example.com")
# The address of the portal's pages and API: the base of links in mails. It may change at any time.
PKI_PORTAL_URL = env_address("PKI_PORTAL_URL", schemes=["https", "http"], example="https://pki.example.com") or PKI_BASE_URL
# Who may read /metrics: clients that send this bearer token (PKI_METRICS_TOKEN or PKI_METRICS_TOKEN_FILE). Without one nobody may, but
# on the embedded default a program on this very machine.
PKI_METRICS_TOKEN = env_token("PKI_METRICS_TOKEN", at_least=16)
PKI_OPERATOR_EMAILS = env_emails("PKI_OPERATOR_EMAILS", "pki-operators@example.com")
# Networks to which teams may send webhooks; empty: none. Loopback and link-local networks only where they are named themselves.
PKI_WEBHOOK_NETWORKS = env_networks("PKI_WEBHOOK_NETWORKS", trusted=False)
PKI_WEBHOOK_ALLOW_HTTP = env_bool("PKI_WEBHOOK_ALLOW_HTTP", default=False)
# Networks in which the portal may look at TLS servers ("check that it is live"); empty: it looks at none. Loopback, link-local and
# metadata addresses only where a network names them alone.
PKI_LIVE_NETWORKS = env_networks("PKI_LIVE_NETWORKS", trusted=False)
# Who reads the audit log at its origin (C2SP tlog-tiles) without signing in. The hashes reveal no event; the entries are the events.
PKI_AUDIT_TILES = env_choice("PKI_AUDIT_TILES", "nobody", choices=["nobody", "hashes", "entries"])
# Parties elsewhere that cosign the audit log's checkpoints (C2SP tlog-witness): "<verifier key> <address>", several with semicolons.
AUDIT_WITNESSES = env_witnesses("PKI_AUDIT_WITNESSES")
# Who gets the weekly compliance report besides the security team: an auditor's address, say.
PKI_REPORT_EMAILS = env_emails("PKI_REPORT_EMAILS", least=0)
DEFAULT_FROM_EMAIL = env_sender("PKI_FROM_EMAIL", "pki-portal@example.com")
PKI_LEAF_KEY_BACKEND = env_name("PKI_LEAF_KEY_BACKEND", "local")
PKI_DEFAULT_CA = env_name("PKI_DEFAULT_CA", "Internal-CA-Prod")
# Organization (O) in the names of the root and its issuing CAs, permanently; `bootstrap` asks on a terminal. Empty: a unique name.
PKI_CA_ORGANIZATION = env_name("PKI_CA_ORGANIZATION")
# An own CA issues nothing that its end would cut to less than so many days.
PKI_CA_LEAST_DAYS = env_int("PKI_CA_LEAST_DAYS", 7, minimum=1, maximum=397)
PKI_DEFAULT_POLICY = env_name("PKI_DEFAULT_POLICY", "default")
PKI_ATTEMPT_LEASE_SECONDS = env_int("PKI_ATTEMPT_LEASE_SECONDS", 45, minimum=5, maximum=3600)
# Batches that may be with one remote CA at once; fewer than the workers of the queue `ca-remote` have processes.
PKI_CA_PARALLEL = env_int("PKI_CA_PARALLEL", 2, minimum=1, maximum=128)
PKI_SWEEP_AFTER_SECONDS = env_int("PKI_SWEEP_AFTER_SECONDS", 30, minimum=1, maximum=86_400)
# The sweeper and beat send no more to a queue in which so many messages wait: its workers are away or far behind.
PKI_SWEEP_QUEUE_MOST = env_int("PKI_SWEEP_QUEUE_MOST", 50, minimum=1)
# Folder with the tokens of CAs that were added on a page, one file each; only the workers of the queue `ca-remote` need it.
PKI_CA_CREDENTIALS = env_folder("PKI_CA_CREDENTIALS", "/run/secrets/pki-cas")
# Networks besides the ordinary ones in which the CRLs and OCSP responders of other CAs may lie: loopback, link-local, metadata.
PKI_CA_NETWORKS = env_networks("PKI_CA_NETWORKS", trusted=False)
PKI_CA_RETRY_SECONDS = (1, 2, 4)
# May this process sign in the CA endpoint's own request? Only one that may use the CA's key: embedded, or `ca-api`.
PKI_CA_API_INLINE = env_bool("PKI_CA_API_INLINE", default=False)
PKI_CA_API_WAIT_SECONDS = env_int("PKI_CA_API_WAIT_SECONDS", 10, maximum=50)
PKI_RENEW_BEFORE_DAYS = env_int("PKI_RENEW_BEFORE_DAYS", 30, minimum=1, maximum=397)
# Renewals that one CA signs in a minute; 0: half of what it was measured to do.
PKI_RENEW_BUDGET = env_int("PKI_RENEW_BUDGET", 0)
# CRLs of own CAs: how long one may be relied on, how often a new one is made though nothing changed,
# how many certificates share one (0: all of a CA's; few clients can use CRL shards, see
# docs/operations/crl-and-ocsp.md). OCSP replies may be kept for the minutes; caches keep them for one.
PKI_CRL_VALID_HOURS = env_int("PKI_CRL_VALID_HOURS", 96, minimum=48, maximum=8784)
PKI_CRL_EVERY_HOURS = env_int("PKI_CRL_EVERY_HOURS", 12, minimum=1, maximum=PKI_CRL_VALID_HOURS - 1)
PKI_ROOT_CRL_VALID_DAYS = env_int("PKI_ROOT_CRL_VALID_DAYS", 365, minimum=31, maximum=3660)
PKI_CRL_SHARD_SIZE = env_int("PKI_CRL_SHARD_SIZE", 0)
PKI_OCSP_VALID_MINUTES = env_int("PKI_OCSP_VALID_MINUTES", 480, minimum=2, maximum=14_400)
PKI_OCSP_NONCES_PER_MINUTE = env_int("PKI_OCSP_NONCES_PER_MINUTE", 600)
# How many days what is no longer needed is kept: attempts of requests that ended, mails, closed alerts.
PKI_KEEP_ATTEMPTS_DAYS = env_int("PKI_KEEP_ATTEMPTS_DAYS", 90, minimum=30, maximum=36_500)
PKI_KEEP_MAILS_DAYS = env_int("PKI_KEEP_MAILS_DAYS", 180, minimum=90, maximum=36_500)
PKI_REQUEST_DRAFT_DAYS = env_int("PKI_REQUEST_DRAFT_DAYS", 30, minimum=1, maximum=3660)  # after its last change
# A request that nobody has decided lapses after so many days; a policy may say otherwise.
PKI_APPROVAL_DAYS = env_int("PKI_APPROVAL_DAYS", 14, minimum=1, maximum=365)
PKI_KEEP_ALERTS_DAYS = env_int("PKI_KEEP_ALERTS_DAYS", 365, minimum=30, maximum=36_500)
# Days after a renewal at which the old certificate is revoked as superseded; 0 lets it expire.
PKI_REVOKE_SUPERSEDED_AFTER_DAYS = env_int("PKI_REVOKE_SUPERSEDED_AFTER_DAYS", 0, maximum=3660)
PKI_DEFAULT_DOMAINS = env_domains("PKI_DEFAULT_DOMAINS", "example.com,example.test")
# Names at or above a public suffix that the organisation runs itself and that a team may own, such as `internal` or `corp`.
PKI_PRIVATE_SUFFIXES = env_suffixes("PKI_PRIVATE_SUFFIXES")
PKI_MAX_NAMES = 100
PKI_ORDER_FROM = env_int("PKI_ORDER_FROM", 6, minimum=2)  # so many certificates in one sentence of a command are a bulk order
# Bulk orders. A chunk is cut when its lines cost PKI_BULK_CHUNK together; a cost of 1 is one or two milliseconds of a core.
PKI_BULK_MAX_LINES = env_int("PKI_BULK_MAX_LINES", 50_000, minimum=1)
PKI_BULK_MAX_BYTES = env_int("PKI_BULK_MAX_BYTES", 20 * 1024 * 1024, minimum=1024)
PKI_BULK_READS_AT_ONCE = env_int("PKI_BULK_READS_AT_ONCE", 2, minimum=1, maximum=128)  # uploads in one web process, each takes a thread
PKI_BULK_CHUNK = env_int("PKI_BULK_CHUNK", 500, minimum=1)
PKI_BULK_COSTS = {"brought": 1, "rsa-2048": 50, "rsa-3072": 160, "rsa-4096": 500}
PKI_BULK_DRAFT_DAYS = env_int("PKI_BULK_DRAFT_DAYS", 7, minimum=1, maximum=3660)  # then a draft that was not submitted is deleted
PKI_BULK_IN_FLIGHT = env_int("PKI_BULK_IN_FLIGHT", 4, minimum=1)  # chunks of a team in the queue at once
PKI_BULK_PER_CA = env_int("PKI_BULK_PER_CA", 8, minimum=1)
PKI_BULK_PER_KEY_BACKEND = env_int("PKI_BULK_PER_KEY_BACKEND", 8, minimum=1)
PKI_MAX_CSR_BYTES = 64 * 1024
PKI_ALLOW_LOCAL_KEYS = env_bool("PKI_ALLOW_LOCAL_KEYS", default=False)
# The optional language helper (requirements-assistant.txt): who rewrites free text into a request sentence; empty: nobody.
PKI_NL_PROVIDER = env_choice("PKI_NL_PROVIDER", "", choices=["", "anthropic"])
PKI_NL_MODEL = env_str("PKI_NL_MODEL")  # empty: the provider's default
PKI_NL_TIMEOUT_SECONDS = env_int("PKI_NL_TIMEOUT_SECONDS", 8, minimum=1, maximum=30)
# Addresses or networks of the proxies before the portal, whose X-Forwarded-For is trusted (who signs in from where).
PKI_TRUSTED_PROXIES = env_networks("PKI_TRUSTED_PROXIES")
# How often each web process looks whether jobs, queues and workers do what they must; 0: never.
PKI_ALARM_EVERY_SECONDS = env_int("PKI_ALARM_EVERY_SECONDS", 15, minimum=0, maximum=3600)
# A worker whose slots are occupied for so long while no task runs ends itself; what it touches as long as it can take messages.
PKI_WORKER_STUCK_SECONDS = env_int("PKI_WORKER_STUCK_SECONDS", 30, minimum=5, maximum=86_400)
PKI_WORKER_PROGRESS_FILE = env_path("PKI_WORKER_PROGRESS_FILE", f"{tempfile.gettempdir()}/worker-progress")
# Which paths this process serves: all, portal, ca or status (`pkiportal.web.served`).
PKI_SERVE = env_choice("PKI_SERVE", "all", choices=[str(serve) for serve in Serve])
PKI_EMBEDDED = False
PKI_DEMO_DATA = False  # every page says so; only `manage.py demo_data` in an embedded portal makes any
PKI_SINGLE_OFFICER = False  # one person approves and publishes alone; only the embedded settings can allow it
PKI_TEXT_CHECK = "certs.requests.exposure.refused_secrets.problem_with_text"  # by dotted path: audit and policy may not import certs
PKI_ADMIN_PAGES = "certs.admin.portal_pages.page_of"  # by dotted path, as before
PKI_EMBEDDED_WORKER = "pkiportal.processes.embedded.start"  # by dotted path: certs may not import pkiportal
