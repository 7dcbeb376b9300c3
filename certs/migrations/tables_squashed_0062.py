"""The tables as migrations 0001 to 0062 leave them, for new installations: a third of the time.

Django takes it where none of those has been applied, and those where some have. What they do to
rows has no counterpart here, for there are no rows. `tests/certs/models/test_squashed.py` compares
the two ways.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation


def store_entries_as_they_are(_apps, schema_editor):
    """CRL entries are nearly random: trying to compress them costs more than writing them."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE certs_crlsegment ALTER COLUMN entries SET STORAGE EXTERNAL")


class AllAtOnce(Operation):
    """Several operations of which the database sees the outcome only: each table is made as it is after the last.

    After each operation of its own Django would make the classes of all related models anew.
    """

    def __init__(self, operations):
        self.operations = operations

    def state_forwards(self, app_label, state):
        if "apps" in vars(state):
            del state.apps
        for operation in self.operations:
            operation.state_forwards(app_label, state)

    def _tables(self):
        return [one for one in self.operations if isinstance(one, migrations.CreateModel)]

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        for table in self._tables():
            table.database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        for table in reversed(self._tables()):
            table.database_backwards(app_label, schema_editor, from_state, to_state)

    def describe(self):
        return "Make all tables at once"


class Migration(migrations.Migration):
    replaces = [
        ("certs", "0001_initial"),
        ("certs", "0002_bulk"),
        ("certs", "0003_slim_indexes"),
        ("certs", "0004_status_information"),
        ("certs", "0005_renewal_and_revocation"),
        ("certs", "0006_bulk_notes"),
        ("certs", "0007_crl_entries_as_they_are"),
        ("certs", "0008_open_renewals"),
        ("certs", "0009_judged_in_parts"),
        ("certs", "0010_chunk_begun"),
        ("certs", "0011_sweep_every_five_seconds"),
        ("certs", "0012_named_permissions"),
        ("certs", "0013_domains_in_normal_form"),
        ("certs", "0014_crl_segment_latest_revocation"),
        ("certs", "0015_sign_in_limits"),
        ("certs", "0016_tokens_end"),
        ("certs", "0017_end_date"),
        ("certs", "0018_power_as_found"),
        ("certs", "0019_hold_of_security_team"),
        ("certs", "0020_leases_of_the_sweeper"),
        ("certs", "0021_lines_not_submitted"),
        ("certs", "0022_constraints_restored"),
        ("certs", "0023_bulk_submitter"),
        ("certs", "0024_pause_of_security_team"),
        ("certs", "0025_description_of_certificates"),
        ("certs", "0026_owners_of_certificates"),
        ("certs", "0027_due_table"),
        ("certs", "0028_persons_tokens_issuers_as_found"),
        ("certs", "0029_notices"),
        ("certs", "0030_alarm_mails_are_notices"),
        ("certs", "0031_expiry_reminders"),
        ("certs", "0032_compliance_reports"),
        ("certs", "0033_figures_of_states"),
        ("certs", "0034_no_drawn_keys"),
        ("certs", "0035_installed_places"),
        ("certs", "0036_accounts_and_trust"),
        ("certs", "0037_requester_pages"),
        ("certs", "0038_request_drafts"),
        ("certs", "0039_renewal_notices"),
        ("certs", "0040_ca_figures"),
        ("certs", "0041_figures_by_team"),
        ("certs", "0042_domain_requests"),
        ("certs", "0043_inventory_page"),
        ("certs", "0044_sign_in"),
        ("certs", "0045_decisions_on_record"),
        ("certs", "0046_policy_replays"),
        ("certs", "0047_approvals"),
        ("certs", "0048_teams_and_people"),
        ("certs", "0049_approval_evidence"),
        ("certs", "0050_certificates_by_person"),
        ("certs", "0051_cas_added_and_reissued"),
        ("certs", "0052_indexes_of_pages"),
        ("certs", "0053_lines_approved_together"),
        ("certs", "0054_owner_changes"),
        ("certs", "0055_mails_in_bundles"),
        ("certs", "0056_former_owner_of_act_line"),
        ("certs", "0057_indexes_of_holds_and_owners"),
        ("certs", "0058_requests_without_certificate"),
        ("certs", "0059_requests_of_people"),
        ("certs", "0060_test_certificates_settled"),
        ("certs", "0061_ends_with_status"),
        ("certs", "0062_chunks_that_are_issued"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("audit", "0004_room_for_counters"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("django_celery_beat", "0018_improve_crontab_helptext"),
        ("keys", "0005_slim_indexes"),
        ("policy", "0005_planned_versions_and_waivers"),
    ]

    operations = [
        AllAtOnce(
            [
                migrations.CreateModel(
                    name="PortalRights",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                    ],
                    options={
                        "permissions": [
                            ("see_every_team", "Can see the requests, orders and certificates of every team"),
                            ("act_for_every_team", "Can renew, revoke, release, cancel and resume for every team"),
                            ("decide_requests", "Can approve and reject requests of other persons"),
                            ("decide_keys", "Can block public keys and undo a block"),
                            ("revoke_tokens", "Can revoke the API tokens of every user"),
                            ("operate", "Can close alerts, and pause and resume the work of every team"),
                            ("manage_people", "Can manage teams, their domains and people, and give the roles it holds"),
                            ("manage_cas", "Can add CAs, roll them over, and have the certificates of one re-issued by another"),
                        ],
                        "managed": False,
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="CertificateRequest",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(help_text="The audit reference.", max_length=40)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("submitted", "submitted"),
                                    ("awaiting_approval", "awaiting approval"),
                                    ("approved", "approved"),
                                    ("key_ready", "key ready"),
                                    ("csr_created", "csr created"),
                                    ("issued", "issued"),
                                    ("completed", "completed"),
                                    ("rejected", "rejected"),
                                    ("failed", "failed"),
                                    ("cancelled", "cancelled"),
                                ],
                                max_length=20,
                            ),
                        ),
                        ("door", models.CharField(max_length=16)),
                        ("profile", models.CharField(max_length=64)),
                        ("common_name", models.CharField(blank=True, max_length=253)),
                        ("dns_names", models.JSONField(default=list)),
                        ("ip_addresses", models.JSONField(default=list)),
                        ("key_type", models.CharField(max_length=16)),
                        (
                            "key_backend",
                            models.CharField(
                                blank=True, help_text="Empty when the CSR was brought: the key is the requester's.", max_length=64
                            ),
                        ),
                        (
                            "validity_days",
                            models.PositiveIntegerField(help_text="Counted from signing; empty where an end date was named.", null=True),
                        ),
                        ("csr_brought", models.BooleanField(default=False)),
                        ("digest", models.CharField(max_length=64)),
                        ("policy_version", models.CharField(blank=True, max_length=32)),
                        ("spki_sha256", models.CharField(blank=True, max_length=64)),
                        ("error", models.CharField(blank=True, max_length=1000)),
                        ("suggestion", models.CharField(blank=True, max_length=1000)),
                        (
                            "stopped_at",
                            models.CharField(blank=True, help_text="The state in which a failed request stopped.", max_length=20),
                        ),
                        ("resume_id", models.CharField(blank=True, max_length=48, null=True)),
                        ("held_since", models.DateTimeField(blank=True, null=True)),
                        ("losses", models.PositiveSmallIntegerField(default=0, help_text="Attempts whose worker was lost.")),
                        (
                            "idempotency_scope",
                            models.CharField(blank=True, help_text="Whose key it is: token:<id>, user:<id> or command.", max_length=40),
                        ),
                        ("idempotency_key", models.CharField(blank=True, max_length=128)),
                        ("created_at", models.DateTimeField()),
                        ("state_changed_at", models.DateTimeField()),
                        (
                            "key_reused",
                            models.BooleanField(default=False, help_text="A renewal on the key of the certificate that it renews."),
                        ),
                        ("not_after", models.DateField(help_text="The last day of validity (UTC), where a person named one.", null=True)),
                        (
                            "key",
                            models.ForeignKey(
                                blank=True,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="keys.key",
                            ),
                        ),
                        (
                            "requester",
                            models.ForeignKey(
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(("state__in", ["submitted", "approved", "key_ready", "csr_created", "issued"])),
                                fields=["state_changed_at"],
                                name="request_unfinished",
                            ),
                            models.Index(condition=models.Q(("key__isnull", False)), fields=["key"], name="request_key"),
                            models.Index(
                                condition=models.Q(("state", "awaiting_approval")), fields=["-id"], name="request_awaiting_approval"
                            ),
                            models.Index(
                                condition=models.Q(("state__in", ["rejected", "failed", "cancelled"])),
                                fields=["-id"],
                                name="request_ended_without",
                            ),
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("idempotency_key", ""), _negated=True),
                                fields=("idempotency_scope", "idempotency_key"),
                                name="request_idempotency_key_once",
                            ),
                            models.UniqueConstraint(fields=("public_id",), name="request_public_id_once"),
                            models.UniqueConstraint(
                                condition=models.Q(("resume_id__isnull", False)), fields=("resume_id",), name="request_resume_id_once"
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("validity_days__isnull", True), ("not_after__isnull", True), _connector="XOR"),
                                name="request_days_or_end_date",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="BeatLease",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("holder", models.CharField(max_length=64)),
                        ("host", models.CharField(help_text="Host name and process id, for people.", max_length=120)),
                        ("since", models.DateTimeField()),
                        ("until", models.DateTimeField()),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="BulkItem",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("number", models.PositiveIntegerField()),
                        ("source", models.CharField(help_text="Where it stood, such as row 17.", max_length=200)),
                        ("common_name", models.CharField(blank=True, max_length=253)),
                        (
                            "spec",
                            models.JSONField(help_text="Names, key, validity and profile; null for a line that cannot be read.", null=True),
                        ),
                        ("csr_der", models.BinaryField(default=b"")),
                        ("spki_der", models.BinaryField(default=b"")),
                        ("notes", models.JSONField(default=list)),
                        (
                            "outcome",
                            models.CharField(
                                choices=[
                                    ("allow", "will be issued"),
                                    ("needs_approval", "needs approval"),
                                    ("deny", "refused by the policy"),
                                    ("invalid", "cannot be read"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("reason", models.CharField(blank=True, max_length=1000)),
                        ("suggestion", models.JSONField(help_text="Changes that would pass, and the sentence that says them.", null=True)),
                        ("duplicate", models.CharField(blank=True, help_text="What else has the same names.", max_length=200)),
                        (
                            "given",
                            models.JSONField(
                                help_text="The cells of a line that cannot be read, by column, so that a person can correct them.",
                                null=True,
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Certificate",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("cert_id", models.CharField(max_length=40)),
                        ("serial_number", models.CharField(help_text="Lower-case hex without leading zeros.", max_length=40)),
                        (
                            "status",
                            models.CharField(
                                choices=[("good", "good"), ("revocation_pending", "revocation pending"), ("revoked", "revoked")],
                                default="good",
                                max_length=20,
                            ),
                        ),
                        ("status_version", models.PositiveIntegerField(default=1)),
                        ("common_name", models.CharField(blank=True, max_length=253)),
                        ("profile", models.CharField(max_length=64)),
                        ("policy_version", models.CharField(max_length=32)),
                        ("key_type", models.CharField(max_length=16)),
                        ("spki_sha256", models.CharField(max_length=64)),
                        ("sha256_fingerprint", models.CharField(max_length=64)),
                        ("not_before", models.DateTimeField()),
                        ("not_after", models.DateTimeField()),
                        ("alert_at", models.DateTimeField(blank=True, null=True)),
                        ("issued_at", models.DateTimeField()),
                        (
                            "crl_shard",
                            models.PositiveIntegerField(
                                db_default=0, default=0, help_text="Which of the issuer's CRLs it is on; its CRL address says so."
                            ),
                        ),
                        (
                            "critical_function",
                            models.BooleanField(
                                db_default=False,
                                default=False,
                                help_text="Supports a critical or important function (DORA, Regulation (EU) 2022/2554).",
                            ),
                        ),
                        ("last_review", models.DateField(blank=True, help_text="When a person last checked it.", null=True)),
                        ("purpose", models.CharField(blank=True, db_default="", default="", max_length=200)),
                        (
                            "renewal_blocked",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("needs_csr", "needs a new CSR"),
                                    ("policy", "refused by the policy"),
                                    ("approval", "waits for an approval"),
                                    ("failed", "failed"),
                                    ("off", "switched off"),
                                ],
                                db_default="",
                                default="",
                                help_text="What the last expiry run could not do without a person.",
                                max_length=12,
                            ),
                        ),
                        (
                            "renewal_off_reason",
                            models.CharField(
                                blank=True,
                                db_default="",
                                default="",
                                help_text="Why a person switched the automatic renewal off; empty where it is on.",
                                max_length=300,
                            ),
                        ),
                        (
                            "notes",
                            models.CharField(
                                blank=True, db_default="", default="", help_text="What whoever looks after it should know.", max_length=1000
                            ),
                        ),
                        (
                            "runbook",
                            models.CharField(
                                blank=True,
                                db_default="",
                                default="",
                                help_text="Address of the instructions for its service.",
                                max_length=500,
                            ),
                        ),
                        (
                            "tags",
                            models.CharField(
                                blank=True,
                                db_default="",
                                default="",
                                help_text="Each between spaces, so that one is found by a comparison: ' production web '.",
                                max_length=340,
                            ),
                        ),
                        (
                            "key",
                            models.ForeignKey(
                                blank=True,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="keys.key",
                            ),
                        ),
                        (
                            "owner",
                            models.ForeignKey(
                                blank=True,
                                db_index=False,
                                help_text="The person who answers for it; by default the person who requested it.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        (
                            "renewed_from",
                            models.ForeignKey(
                                blank=True,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="renewals",
                                to="certs.certificate",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(fields=["spki_sha256"], name="certificate_key"),
                            models.Index(condition=models.Q(("key__isnull", False)), fields=["key"], name="certificate_made_key"),
                            models.Index(condition=models.Q(("critical_function", True)), fields=["-id"], name="certificate_critical"),
                            models.Index(
                                condition=models.Q(("renewal_blocked", ""), _negated=True), fields=["-id"], name="certificate_blocked"
                            ),
                            models.Index(
                                condition=models.Q(("renewal_off_reason", ""), _negated=True),
                                fields=["-id"],
                                name="certificate_renewal_off",
                            ),
                            models.Index(
                                condition=models.Q(("tags", ""), _negated=True),
                                fields=["-id"],
                                include=("tags",),
                                name="certificate_tagged",
                            ),
                            models.Index(fields=["common_name"], name="certificate_common_name"),
                            models.Index(fields=["key_type", "not_after"], name="certificate_key_type_ends"),
                            models.Index(
                                condition=models.Q(("status", "good"), _negated=True), fields=["not_after"], name="certificate_not_good"
                            ),
                            models.Index(
                                condition=models.Q(
                                    models.Q(("renewal_blocked", ""), _negated=True),
                                    models.Q(("renewal_off_reason", ""), _negated=True),
                                    _connector="OR",
                                ),
                                fields=["not_after"],
                                name="certificate_by_person",
                            ),
                            models.Index(
                                condition=models.Q(("renewed_from__isnull", False)),
                                fields=["renewed_from"],
                                include=("status",),
                                name="certificate_renewal",
                            ),
                            models.Index(
                                condition=models.Q(("owner__isnull", False)), fields=["owner", "not_after"], name="certificate_owner_ends"
                            ),
                            models.Index(fields=["not_after", "alert_at"], include=("id", "status"), name="certificate_ends"),
                        ],
                        "constraints": [
                            models.UniqueConstraint(fields=("cert_id",), name="certificate_id_once"),
                            models.UniqueConstraint(fields=("sha256_fingerprint",), name="certificate_fingerprint_once"),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Chain",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("sha256", models.CharField(max_length=64, unique=True)),
                        ("pem", models.TextField()),
                    ],
                ),
                migrations.CreateModel(
                    name="ComplianceReport",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("week", models.CharField(help_text="ISO 8601, such as 2026-W48.", max_length=8, unique=True)),
                        ("as_of", models.DateTimeField(help_text="When its figures were read.", null=True)),
                        ("complete", models.BooleanField(default=False, help_text="Computed after the end of its week.")),
                        ("facts", models.JSONField(default=dict)),
                        (
                            "list_csv",
                            models.TextField(default="", help_text="What does not comply: the first certificates of the list, as CSV."),
                        ),
                        ("lease_until", models.DateTimeField(blank=True, null=True)),
                        ("tries", models.PositiveSmallIntegerField(default=0)),
                        ("error", models.CharField(blank=True, max_length=300)),
                        (
                            "mailed_at",
                            models.DateTimeField(blank=True, help_text="When its mails were put on the list to be sent.", null=True),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="CRL",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("number", models.BigIntegerField()),
                        ("this_update", models.DateTimeField()),
                        ("next_update", models.DateTimeField()),
                        ("segments", models.JSONField(default=list, help_text="Ids of CRLSegment, in order.")),
                        ("count", models.PositiveIntegerField()),
                        ("length", models.BigIntegerField(help_text="Octets.")),
                        (
                            "distribution_point",
                            models.CharField(
                                blank=True, help_text="The URL that its IDP names; empty for a complete list.", max_length=300
                            ),
                        ),
                        ("tbs_sha256", models.CharField(help_text="Of what was signed.", max_length=64)),
                        ("head", models.BinaryField()),
                        ("tail", models.BinaryField()),
                        ("published_at", models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name="FigureCount",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("counted_at", models.DateTimeField()),
                        ("seconds", models.FloatField(help_text="How long the count took.")),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Issuer",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=64, unique=True)),
                        ("slug", models.SlugField(max_length=64, unique=True)),
                        (
                            "alias",
                            models.CharField(
                                blank=True,
                                help_text="Client in settings.CA_CLIENTS; empty for a root that only signs issuing CAs.",
                                max_length=64,
                            ),
                        ),
                        (
                            "state",
                            models.CharField(
                                choices=[("active", "active"), ("revocation_only", "revocation only"), ("distrusted", "distrusted")],
                                default="active",
                                max_length=16,
                            ),
                        ),
                        ("certificate_der", models.BinaryField(help_text="An own CA's certificate; empty for a CA elsewhere.", null=True)),
                        (
                            "trust_anchor_der",
                            models.BinaryField(
                                help_text="The root that every chain from this CA must end in, pinned when it was added.", null=True
                            ),
                        ),
                        ("created_at", models.DateTimeField()),
                        ("circuit_opened_at", models.DateTimeField(blank=True, null=True)),
                        ("circuit_reason", models.CharField(blank=True, max_length=300)),
                        ("crl_shard", models.PositiveIntegerField(default=0, help_text="The CRL that certificates issued now are on.")),
                        (
                            "sweep_lease_until",
                            models.DateTimeField(blank=True, help_text="Until then one worker clears up at this CA.", null=True),
                        ),
                        (
                            "key",
                            models.ForeignKey(
                                blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="keys.key"
                            ),
                        ),
                        (
                            "parent",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="children",
                                to="certs.issuer",
                            ),
                        ),
                        (
                            "successor",
                            models.OneToOneField(
                                blank=True,
                                help_text="The CA that took over from it.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="predecessor",
                                to="certs.issuer",
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="PersonSettings",
                    fields=[
                        (
                            "user",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE,
                                primary_key=True,
                                related_name="portal_settings",
                                serialize=False,
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        ("time_zone", models.CharField(blank=True, help_text="A name of the IANA database; empty for UTC.", max_length=64)),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="QueueProgress",
                    fields=[
                        ("name", models.CharField(max_length=64, primary_key=True, serialize=False)),
                        ("finished_at", models.DateTimeField()),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="RateCounter",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("key", models.CharField(max_length=200, unique=True)),
                        ("used", models.PositiveIntegerField(default=0)),
                        ("ends_at", models.DateTimeField(db_index=True)),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="ScheduledJob",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=200, unique=True)),
                        ("task", models.CharField(max_length=200)),
                        ("rule", models.CharField(help_text="The schedule for which due_at was computed.", max_length=300)),
                        ("due_at", models.DateTimeField(help_text="Empty while the schedule is off.", null=True)),
                        ("done_until", models.DateTimeField(help_text="Periods up to this time are done.")),
                        ("sent_period", models.DateTimeField(help_text="The period that was sent last.", null=True)),
                        ("sent_at", models.DateTimeField(null=True)),
                        ("started_period", models.DateTimeField(null=True)),
                        ("started_at", models.DateTimeField(null=True)),
                        (
                            "finished_at",
                            models.DateTimeField(help_text="Empty while a run goes on, and after one that broke off.", null=True),
                        ),
                        ("run_id", models.CharField(blank=True, help_text="The Celery task that works on started_period.", max_length=64)),
                        ("starts", models.PositiveSmallIntegerField(default=0, help_text="Runs of started_period.")),
                        ("lease_until", models.DateTimeField(help_text="Until then the message, or the run, is waited for.", null=True)),
                        ("result", models.CharField(blank=True, choices=[("succeeded", "Succeeded"), ("failed", "Failed")], max_length=12)),
                        ("error", models.CharField(blank=True, max_length=300)),
                        ("missed", models.PositiveIntegerField(default=0, help_text="Periods of the last gap in which nothing ran.")),
                        ("missed_at", models.DateTimeField(help_text="When that gap ended.", null=True)),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="SignInCounter",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("key", models.CharField(max_length=64, unique=True)),
                        ("kind", models.CharField(max_length=16)),
                        ("name", models.CharField(blank=True, max_length=150)),
                        ("network", models.CharField(blank=True, max_length=64)),
                        ("tries", models.PositiveIntegerField(default=0)),
                        ("refused", models.PositiveIntegerField(default=0)),
                        ("recorded", models.PositiveIntegerField(default=0, help_text="Of both, in audit events already.")),
                        ("begun_at", models.DateTimeField()),
                        ("ends_at", models.DateTimeField(db_index=True)),
                    ],
                ),
                migrations.CreateModel(
                    name="VerdictRun",
                    fields=[
                        ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                        ("policy_version", models.CharField(max_length=32)),
                        ("policy_digest", models.CharField(max_length=64)),
                        ("begun_at", models.DateTimeField(help_text="When the run under way, or the last one, began.")),
                        ("judged_to", models.BigIntegerField(default=0, help_text="Certificates up to this id are done.")),
                        (
                            "complete_at",
                            models.DateTimeField(
                                help_text="When the run came to the newest certificate; none while it goes on.", null=True
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="RequestCSR",
                    fields=[
                        (
                            "request",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.PROTECT,
                                primary_key=True,
                                related_name="csr",
                                serialize=False,
                                to="certs.certificaterequest",
                            ),
                        ),
                        ("der", models.BinaryField(default=b"")),
                        ("spki_der", models.BinaryField()),
                        ("spki_sha256", models.CharField(max_length=64)),
                        ("created_at", models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name="Approval",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("digest", models.CharField(max_length=64)),
                        ("granted", models.BooleanField()),
                        ("comment", models.CharField(blank=True, max_length=500)),
                        ("decided_at", models.DateTimeField()),
                        (
                            "approver",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="approvals", to="certs.certificaterequest"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Attempt",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("step", models.CharField(max_length=16)),
                        ("number", models.PositiveIntegerField()),
                        (
                            "batch",
                            models.PositiveIntegerField(default=1, help_text="How many requests were claimed together with this one."),
                        ),
                        ("lease_until", models.DateTimeField()),
                        ("opened_at", models.DateTimeField()),
                        ("closed_at", models.DateTimeField(blank=True, null=True)),
                        ("outcome", models.CharField(blank=True, max_length=16)),
                        ("detail", models.CharField(blank=True, max_length=500)),
                        (
                            "request",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="attempts",
                                to="certs.certificaterequest",
                            ),
                        ),
                    ],
                    options={
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("closed_at__isnull", True)), fields=("request", "step"), name="attempt_open_once"
                            ),
                            models.UniqueConstraint(fields=("request", "step", "number"), name="attempt_number_once"),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="BulkAct",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("renew", "Renew"),
                                    ("revoke", "Revoke"),
                                    ("owner", "Change owner"),
                                    ("add_tag", "Add tag"),
                                    ("remove_tag", "Remove tag"),
                                ],
                                max_length=12,
                            ),
                        ),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("draft", "not begun"),
                                    ("running", "running"),
                                    ("paused", "paused"),
                                    ("cancelled", "cancelled"),
                                    ("done", "done"),
                                ],
                                default="draft",
                                max_length=12,
                            ),
                        ),
                        ("query", models.CharField(blank=True, help_text="The view of which all were selected.", max_length=1000)),
                        (
                            "options",
                            models.JSONField(default=dict, help_text="Reason and comment, owner, or tag; empty until they are chosen."),
                        ),
                        ("total", models.PositiveIntegerField()),
                        ("created_at", models.DateTimeField()),
                        ("submitted_at", models.DateTimeField(null=True)),
                        ("worked_at", models.DateTimeField(help_text="When a worker last took a line.", null=True)),
                        ("finished_at", models.DateTimeField(null=True)),
                        ("paused_by_security_team", models.BooleanField(default=False)),
                        (
                            "person",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(fields=["person", "-id"], name="bulk_act_person_recent"),
                            models.Index(condition=models.Q(("state", "running")), fields=["state"], name="bulk_act_running"),
                        ],
                    },
                ),
                migrations.AddField(
                    model_name="certificaterequest",
                    name="bulk_item",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="certs.bulkitem",
                    ),
                ),
                migrations.CreateModel(
                    name="BulkOrder",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("judging", "being judged"),
                                    ("draft", "draft"),
                                    ("running", "running"),
                                    ("paused", "paused"),
                                    ("cancelled", "cancelled"),
                                    ("done", "done"),
                                ],
                                default="draft",
                                max_length=12,
                            ),
                        ),
                        ("actor_kind", models.CharField(max_length=16)),
                        ("actor_name", models.CharField(max_length=200)),
                        ("door", models.CharField(max_length=16)),
                        ("title", models.CharField(help_text="The file's name, or the sentence's beginning.", max_length=200)),
                        (
                            "with_refused",
                            models.BooleanField(
                                default=False, help_text="Lines that the policy refused were submitted too, to be on record."
                            ),
                        ),
                        ("total", models.PositiveIntegerField(default=0, help_text="All lines: every row of the file is one.")),
                        ("idempotency_scope", models.CharField(blank=True, max_length=40)),
                        ("idempotency_key", models.CharField(blank=True, max_length=128)),
                        (
                            "content_sha256",
                            models.CharField(
                                help_text="Of all lines, so that the same key with another content is refused.", max_length=64
                            ),
                        ),
                        ("created_at", models.DateTimeField()),
                        ("submitted_at", models.DateTimeField(blank=True, null=True)),
                        ("finished_at", models.DateTimeField(blank=True, null=True)),
                        ("notes", models.JSONField(default=list, help_text="What was assumed for all lines together, in words.")),
                        ("judged_at", models.DateTimeField(blank=True, help_text="When the last part of its lines was judged.", null=True)),
                        (
                            "not_submitted",
                            models.PositiveIntegerField(
                                db_default=0,
                                default=0,
                                help_text="Lines of which no request was made: they cannot be read, or were left out.",
                            ),
                        ),
                        (
                            "paused_by_security_team",
                            models.BooleanField(
                                db_default=False, default=False, help_text="A pause that only the security team or an operator ends."
                            ),
                        ),
                        (
                            "ended_as",
                            models.JSONField(
                                blank=True,
                                help_text="How many lines became what when it was finished, so that its page need not count them.",
                                null=True,
                            ),
                        ),
                        (
                            "requester",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "submitter",
                            models.ForeignKey(
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        (
                            "issuer",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="bulk_orders", to="certs.issuer"),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(condition=models.Q(("state__in", ["running", "paused"])), fields=["state"], name="bulk_order_open")
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("idempotency_key", ""), _negated=True),
                                fields=("idempotency_scope", "idempotency_key"),
                                name="bulk_order_key_once",
                            )
                        ],
                    },
                ),
                migrations.AddField(
                    model_name="bulkitem",
                    name="order",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="items", to="certs.bulkorder"
                    ),
                ),
                migrations.CreateModel(
                    name="BulkChunk",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("first", models.PositiveIntegerField(help_text="Number of its first line.")),
                        ("last", models.PositiveIntegerField(help_text="Number of its last line.")),
                        (
                            "state",
                            models.CharField(
                                choices=[("waiting", "waiting"), ("queued", "queued"), ("done", "done"), ("cancelled", "cancelled")],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        (
                            "key_backend",
                            models.CharField(
                                blank=True, help_text="Where its keys are made; empty when every CSR was brought.", max_length=64
                            ),
                        ),
                        ("queued_at", models.DateTimeField(blank=True, null=True)),
                        ("done_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "retry",
                            models.BooleanField(
                                db_default=False,
                                default=False,
                                help_text="Its failed lines go on from where they stopped when it begins next.",
                            ),
                        ),
                        (
                            "issued",
                            models.PositiveIntegerField(
                                blank=True,
                                help_text="How many lines it has, where each had its certificate as it was closed: none changes again.",
                                null=True,
                            ),
                        ),
                        (
                            "order",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="chunks", to="certs.bulkorder"),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(condition=models.Q(("state__in", ["waiting", "queued"])), fields=["order"], name="bulk_chunk_open")
                        ],
                        "constraints": [models.UniqueConstraint(fields=("order", "first"), name="bulk_chunk_first_once")],
                    },
                ),
                migrations.CreateModel(
                    name="ApprovalOfLines",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("digests", models.JSONField()),
                        ("digest", models.CharField(max_length=64)),
                        ("nonce", models.BinaryField(default=b"")),
                        (
                            "expires_at",
                            models.DateTimeField(
                                db_index=True, help_text="Of a question to a passkey; none once it is decided.", null=True
                            ),
                        ),
                        (
                            "approver",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        ("order", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.bulkorder")),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("expires_at__isnull", False)),
                                fields=("order", "approver"),
                                name="approval_of_lines_one_a_person",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="CertificateBody",
                    fields=[
                        (
                            "certificate",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.PROTECT,
                                primary_key=True,
                                related_name="body",
                                serialize=False,
                                to="certs.certificate",
                            ),
                        ),
                        ("der", models.BinaryField()),
                    ],
                ),
                migrations.CreateModel(
                    name="PolicyVerdict",
                    fields=[
                        (
                            "certificate",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE,
                                primary_key=True,
                                related_name="verdict",
                                serialize=False,
                                to="certs.certificate",
                            ),
                        ),
                        ("rules", models.CharField(help_text="Names of the rules that refuse it, each between spaces.", max_length=300)),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Revocation",
                    fields=[
                        (
                            "certificate",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.PROTECT,
                                primary_key=True,
                                related_name="revocation",
                                serialize=False,
                                to="certs.certificate",
                            ),
                        ),
                        (
                            "reason",
                            models.CharField(
                                choices=[
                                    ("unspecified", "unspecified"),
                                    ("keyCompromise", "keyCompromise"),
                                    ("cACompromise", "cACompromise"),
                                    ("affiliationChanged", "affiliationChanged"),
                                    ("superseded", "superseded"),
                                    ("cessationOfOperation", "cessationOfOperation"),
                                    ("certificateHold", "certificateHold"),
                                    ("privilegeWithdrawn", "privilegeWithdrawn"),
                                    ("aACompromise", "aACompromise"),
                                ],
                                max_length=24,
                            ),
                        ),
                        ("requested_at", models.DateTimeField(help_text="Our time: the revocationDate of CRL and OCSP.")),
                        ("requested_by", models.CharField(max_length=150)),
                        (
                            "invalidity_date",
                            models.DateTimeField(
                                blank=True, help_text="Since when it should not be trusted, as the requester says.", null=True
                            ),
                        ),
                        ("confirmed_at", models.DateTimeField(blank=True, help_text="When the CA had done it.", null=True)),
                        ("tries", models.PositiveIntegerField(default=0)),
                        ("last_error", models.CharField(blank=True, max_length=300)),
                        (
                            "first_crl_number",
                            models.BigIntegerField(blank=True, help_text="The first published CRL that held it; own CAs only.", null=True),
                        ),
                        (
                            "comment",
                            models.CharField(blank=True, help_text="What the person who asked wrote; never sent to a CA.", max_length=500),
                        ),
                        (
                            "lease_until",
                            models.DateTimeField(blank=True, help_text="A worker is telling the CA; no other does meanwhile.", null=True),
                        ),
                        ("release_requested_at", models.DateTimeField(blank=True, null=True)),
                        ("release_requested_by", models.CharField(blank=True, max_length=150)),
                        (
                            "released_at",
                            models.DateTimeField(
                                blank=True, help_text="A hold that was taken back: the certificate is good again.", null=True
                            ),
                        ),
                        (
                            "by_security_team",
                            models.BooleanField(db_default=False, default=False, help_text="A hold that only an officer releases."),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(("first_crl_number__isnull", True)), fields=["certificate"], name="revocation_not_on_crl"
                            ),
                            models.Index(
                                condition=models.Q(
                                    ("confirmed_at__isnull", True),
                                    models.Q(("release_requested_at__isnull", False), ("released_at__isnull", True)),
                                    _connector="OR",
                                ),
                                fields=["requested_at"],
                                name="revocation_untold",
                            ),
                            models.Index(fields=["requested_at"], name="revocation_requested"),
                            models.Index(
                                condition=models.Q(("reason", "certificateHold"), ("released_at__isnull", True)),
                                fields=["certificate"],
                                name="revocation_hold",
                            ),
                        ],
                    },
                ),
                migrations.AddField(
                    model_name="certificaterequest",
                    name="renewed_from",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="renewal_requests",
                        to="certs.certificate",
                    ),
                ),
                migrations.AddField(
                    model_name="certificate",
                    name="request",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="certificate", to="certs.certificaterequest"
                    ),
                ),
                migrations.AddField(
                    model_name="certificate",
                    name="requester",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.CreateModel(
                    name="BulkActLine",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("number", models.PositiveIntegerField()),
                        (
                            "outcome",
                            models.CharField(
                                choices=[
                                    ("waiting", "waiting"),
                                    ("done", "done"),
                                    ("unchanged", "was so already"),
                                    ("refused", "refused"),
                                    ("failed", "failed"),
                                    ("left_out", "left out"),
                                    ("cancelled", "not begun"),
                                ],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        ("reason", models.CharField(blank=True, max_length=500)),
                        ("advice", models.CharField(blank=True, max_length=500)),
                        ("result", models.CharField(blank=True, help_text="The request of a renewal.", max_length=40)),
                        ("tries", models.PositiveSmallIntegerField(default=0)),
                        ("done_at", models.DateTimeField(null=True)),
                        (
                            "act",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="certs.bulkact"
                            ),
                        ),
                        (
                            "owner_before",
                            models.ForeignKey(
                                db_index=False,
                                help_text="Who owned it until the act gave it to somebody else.",
                                null=True,
                                on_delete=django.db.models.deletion.SET_NULL,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.certificate"
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(condition=models.Q(("outcome", "waiting")), fields=["act", "number"], name="bulk_act_line_waiting")
                        ],
                        "constraints": [
                            models.UniqueConstraint(fields=("act", "number"), name="bulk_act_line_once"),
                            models.UniqueConstraint(fields=("act", "certificate"), name="bulk_act_once"),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="CertificateName",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("kind", models.CharField(choices=[("dns", "dns"), ("ip", "ip")], max_length=4)),
                        ("name", models.CharField(max_length=253)),
                        ("reversed_labels", models.CharField(help_text="com.example.api for api.example.com.", max_length=254)),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="names", to="certs.certificate"
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(fields=["reversed_labels"], name="certificate_domain", opclasses=["varchar_pattern_ops"]),
                            models.Index(
                                fields=["name"], include=("certificate",), name="certificate_name", opclasses=["varchar_pattern_ops"]
                            ),
                        ],
                        "constraints": [models.UniqueConstraint(fields=("certificate", "kind", "name"), name="certificate_name_once")],
                    },
                ),
                migrations.AddField(
                    model_name="certificate",
                    name="chain",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.chain"
                    ),
                ),
                migrations.CreateModel(
                    name="CRLPoint",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("shard", models.PositiveIntegerField(default=0)),
                        ("last_number", models.BigIntegerField(default=0, help_text="The highest number ever taken, published or not.")),
                        (
                            "issued",
                            models.PositiveIntegerField(
                                default=0, help_text="How many certificates share this CRL, counted from the intents."
                            ),
                        ),
                        ("counted_to", models.BigIntegerField(default=0, help_text="The last intent that was counted.")),
                        (
                            "published",
                            models.ForeignKey(
                                blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.crl"
                            ),
                        ),
                        (
                            "issuer",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="crl_points", to="certs.issuer"),
                        ),
                    ],
                    options={
                        "constraints": [models.UniqueConstraint(fields=("issuer", "shard"), name="crl_point_once")],
                    },
                ),
                migrations.AddField(
                    model_name="crl",
                    name="point",
                    field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="crls", to="certs.crlpoint"),
                ),
                migrations.CreateModel(
                    name="CRLSegment",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        (
                            "source",
                            models.CharField(
                                choices=[("certificates", "certificates"), ("intents", "intents without a certificate")], max_length=12
                            ),
                        ),
                        ("number", models.BigIntegerField(help_text="The range: row ids divided by its size.")),
                        ("fingerprint", models.CharField(help_text="Of the rows it was encoded from.", max_length=120)),
                        ("count", models.PositiveIntegerField()),
                        ("length", models.PositiveIntegerField(help_text="Octets.")),
                        (
                            "earliest_expiry",
                            models.DateTimeField(
                                help_text="After it an entry may leave, once it has been published past its expiry.", null=True
                            ),
                        ),
                        ("entries", models.BinaryField()),
                        ("created_at", models.DateTimeField()),
                        ("latest_revocation", models.DateTimeField(help_text="The newest revocationDate among its entries.", null=True)),
                        (
                            "point",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="segments", to="certs.crlpoint"),
                        ),
                    ],
                    options={
                        "indexes": [models.Index(fields=["point", "source", "number"], name="crl_segment_range")],
                    },
                ),
                migrations.CreateModel(
                    name="Deputy",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("named_at", models.DateTimeField()),
                        ("until", models.DateTimeField()),
                        ("ended_at", models.DateTimeField(null=True)),
                        (
                            "approver",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "deputy",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("ended_at__isnull", True)), fields=("approver",), name="deputy_one_at_a_time"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="DigestEntry",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("topic", models.CharField(max_length=32)),
                        ("at", models.DateTimeField()),
                        ("announced", models.BooleanField(default=False, help_text="Webhooks have been notified.")),
                        ("batch", models.UUIDField(help_text="The digest that takes the entry, inside its transaction.", null=True)),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.certificate"
                            ),
                        ),
                    ],
                    options={
                        "indexes": [models.Index(fields=["topic", "at"], name="digest_entry_due")],
                    },
                ),
                migrations.CreateModel(
                    name="ExpiryReminder",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("stage", models.SmallIntegerField(help_text="Days before the end; -1 after it.")),
                        ("recipient", models.CharField(max_length=254)),
                        ("told_at", models.DateTimeField()),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="reminders",
                                to="certs.certificate",
                            ),
                        ),
                    ],
                    options={
                        "constraints": [models.UniqueConstraint(fields=("certificate", "stage", "recipient"), name="reminder_once")],
                    },
                ),
                migrations.CreateModel(
                    name="InstalledPlace",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("host", models.CharField(max_length=253)),
                        ("port", models.PositiveIntegerField()),
                        (
                            "starttls",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("", "TLS from the first byte (https, ldaps, imaps …)"),
                                    ("smtp", "SMTP with STARTTLS"),
                                    ("imap", "IMAP with STARTTLS"),
                                    ("pop3", "POP3 with STLS"),
                                    ("ldap", "LDAP with STARTTLS"),
                                    ("postgres", "PostgreSQL"),
                                    ("mysql", "MySQL, MariaDB"),
                                ],
                                max_length=8,
                            ),
                        ),
                        ("asked_at", models.DateTimeField()),
                        ("asked_by", models.CharField(blank=True, help_text="Empty for the portal's own looks.", max_length=150)),
                        ("seen_at", models.DateTimeField(null=True)),
                        (
                            "outcome",
                            models.CharField(
                                blank=True,
                                choices=[
                                    ("served", "served"),
                                    ("no_intermediate", "chain incomplete"),
                                    ("wrong_name", "name does not match"),
                                    ("old", "still the old one"),
                                    ("another", "another certificate of this portal"),
                                    ("other_ca", "certificate of another CA"),
                                    ("no_tls", "no TLS"),
                                    ("unreachable", "not reachable from here"),
                                    ("not_allowed", "not looked at"),
                                ],
                                max_length=16,
                            ),
                        ),
                        ("detail", models.CharField(blank=True, max_length=300)),
                        ("failures", models.PositiveSmallIntegerField(default=0, help_text="Looks in a row that saw no certificate.")),
                        ("address", models.CharField(blank=True, max_length=45)),
                        ("protocol", models.CharField(blank=True, max_length=16)),
                        ("cipher", models.CharField(blank=True, max_length=64)),
                        ("served_sha256", models.CharField(blank=True, max_length=64)),
                        ("served_issuer", models.CharField(blank=True, max_length=300)),
                        ("served_not_after", models.DateTimeField(null=True)),
                        ("chain", models.TextField(blank=True, help_text="PEM, as the server sent it.")),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="places", to="certs.certificate"
                            ),
                        ),
                        (
                            "served",
                            models.ForeignKey(
                                db_index=False,
                                help_text="The certificate of the inventory that was served.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="certs.certificate",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(condition=models.Q(("outcome", "old")), fields=["served"], name="place_still_old"),
                            models.Index(fields=["seen_at"], name="place_seen"),
                        ],
                        "constraints": [models.UniqueConstraint(fields=("certificate", "host", "port"), name="place_once")],
                    },
                ),
                migrations.CreateModel(
                    name="IssuerFigure",
                    fields=[
                        (
                            "issuer",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE,
                                primary_key=True,
                                related_name="figure",
                                serialize=False,
                                to="certs.issuer",
                            ),
                        ),
                        ("valid", models.PositiveBigIntegerField()),
                        ("last_issued_at", models.DateTimeField(null=True)),
                        ("counted_at", models.DateTimeField()),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="IssuanceIntent",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("order_ref", models.CharField(max_length=80)),
                        ("serial_number", models.CharField(help_text="Lower-case hex without leading zeros.", max_length=40)),
                        (
                            "state",
                            models.CharField(
                                choices=[("intended", "intended"), ("signed", "signed"), ("abandoned", "abandoned")],
                                default="intended",
                                max_length=10,
                            ),
                        ),
                        ("profile", models.CharField(max_length=64)),
                        ("policy_version", models.CharField(max_length=32)),
                        ("spki_sha256", models.CharField(max_length=64)),
                        ("tbs", models.BinaryField()),
                        ("signature_algorithm", models.BinaryField()),
                        ("certificate_der", models.BinaryField(null=True)),
                        ("created_at", models.DateTimeField()),
                        ("signed_at", models.DateTimeField(blank=True, null=True)),
                        ("revoked_at", models.DateTimeField(blank=True, null=True)),
                        ("revocation_reason", models.CharField(blank=True, max_length=24)),
                        ("crl_shard", models.PositiveIntegerField(db_default=0, default=0)),
                        (
                            "not_after",
                            models.DateTimeField(
                                help_text="Its certificate's; empty in old rows, which stay on the CRL for ever.", null=True
                            ),
                        ),
                        (
                            "issuer",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="intents", to="certs.issuer"
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(("state", "abandoned"), ("revoked_at__isnull", False), _connector="OR"),
                                fields=["issuer", "crl_shard", "id"],
                                name="intent_on_crl",
                            )
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("state", "abandoned"), _negated=True),
                                fields=("issuer", "order_ref"),
                                name="intent_order_once",
                            ),
                            models.UniqueConstraint(fields=("issuer", "serial_number"), name="intent_serial_once"),
                        ],
                    },
                ),
                migrations.AddField(
                    model_name="chain",
                    name="issuer",
                    field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="chains", to="certs.issuer"),
                ),
                migrations.AddField(
                    model_name="certificaterequest",
                    name="issuer",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="requests", to="certs.issuer"
                    ),
                ),
                migrations.AddField(
                    model_name="certificate",
                    name="issuer",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="certificates", to="certs.issuer"
                    ),
                ),
                migrations.CreateModel(
                    name="CAAddition",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("configured", "a CA of the settings (CA_CLIENTS)"),
                                    ("rest", "a CA over REST"),
                                    ("vault_pki", "Vault or OpenBao, PKI engine"),
                                ],
                                max_length=12,
                            ),
                        ),
                        ("name", models.CharField(help_text="Its name here, and its alias.", max_length=64)),
                        ("address", models.CharField(blank=True, max_length=200)),
                        ("credential", models.CharField(blank=True, help_text="Name of a file; never the secret.", max_length=64)),
                        ("mount", models.CharField(blank=True, max_length=64)),
                        ("role", models.CharField(blank=True, max_length=64)),
                        ("test_name", models.CharField(help_text="The name in the test certificate.", max_length=253)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("connecting", "connect"),
                                    ("comparing", "compare the root"),
                                    ("testing", "test"),
                                    ("ready", "go live"),
                                    ("live", "live"),
                                    ("given_up", "given up"),
                                ],
                                default="connecting",
                                max_length=12,
                            ),
                        ),
                        ("began_by_name", models.CharField(max_length=150)),
                        ("created_at", models.DateTimeField()),
                        ("working_until", models.DateTimeField(blank=True, help_text="Until then a worker is at it.", null=True)),
                        ("problem", models.CharField(blank=True, help_text="Why the last try of the step failed.", max_length=500)),
                        ("chain", models.TextField(blank=True, help_text="PEM, as the CA sent it: issuing CA first.")),
                        ("wrong_fingerprints", models.PositiveSmallIntegerField(default=0)),
                        ("csr_der", models.BinaryField(default=b"", help_text="Of the test; its key was never kept.")),
                        ("test_der", models.BinaryField(default=b"", help_text="The test certificate.")),
                        ("test_steps", models.JSONField(default=list, help_text="What the test has done, as sentences.")),
                        ("ended_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "test_settled_at",
                            models.DateTimeField(
                                blank=True, help_text="When the test certificate was revoked, or was known not to exist.", null=True
                            ),
                        ),
                        (
                            "began_by",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "issuer",
                            models.OneToOneField(
                                blank=True,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="addition",
                                to="certs.issuer",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": ("view",),
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("state", "given_up"), _negated=True), fields=("name",), name="ca_addition_name_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="MailChoice",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("topic", models.CharField(max_length=32)),
                        ("wanted", models.BooleanField()),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="mail_choices", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                    options={
                        "constraints": [models.UniqueConstraint(fields=("user", "topic"), name="mail_choice_once")],
                    },
                ),
                migrations.CreateModel(
                    name="OperatorAlert",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("kind", models.CharField(max_length=32)),
                        ("cause", models.CharField(help_text="What the alert is about, such as ca:Internal-CA-Prod.", max_length=128)),
                        ("message", models.CharField(max_length=1000)),
                        ("next_step", models.CharField(max_length=500)),
                        ("occurrences", models.PositiveIntegerField(default=1)),
                        ("raised_at", models.DateTimeField()),
                        ("last_seen_at", models.DateTimeField()),
                        ("closed_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "tried_at",
                            models.DateTimeField(blank=True, help_text="When the work that fails was last tried again.", null=True),
                        ),
                        ("trials", models.PositiveSmallIntegerField(db_default=0, default=0)),
                        (
                            "end_notified_at",
                            models.DateTimeField(
                                blank=True, help_text="When the operators were notified that an outage is over.", null=True
                            ),
                        ),
                        (
                            "closed_by",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "indexes": [models.Index(fields=["kind", "cause", "-closed_at"], name="alert_latest")],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("closed_at__isnull", True)), fields=("kind", "cause"), name="alert_open_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="OutgoingMail",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("dedup_key", models.CharField(max_length=160)),
                        ("subject", models.CharField(max_length=200)),
                        ("body", models.TextField(help_text="The text part.")),
                        ("written_at", models.DateTimeField()),
                        ("not_before", models.DateTimeField()),
                        ("tries", models.PositiveSmallIntegerField(default=0)),
                        ("lease_until", models.DateTimeField(blank=True, null=True)),
                        ("sent_at", models.DateTimeField(blank=True, null=True)),
                        ("last_error", models.CharField(blank=True, max_length=300)),
                        ("given_up_at", models.DateTimeField(blank=True, null=True)),
                        ("html", models.TextField(blank=True, help_text="The HTML part, with its style sheet inlined.")),
                        ("recipient", models.CharField(max_length=254)),
                        ("reply_to", models.CharField(blank=True, max_length=254)),
                        ("topic", models.CharField(max_length=32)),
                        (
                            "bundle_kind",
                            models.CharField(blank=True, db_default="", help_text="Many of one kind become one mail.", max_length=32),
                        ),
                        (
                            "bundle_line",
                            models.JSONField(blank=True, help_text="What the mail says in a bundle: name, why, path.", null=True),
                        ),
                        (
                            "bundled_into",
                            models.ForeignKey(
                                blank=True,
                                null=True,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="bundled",
                                to="certs.outgoingmail",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(
                                    ("bundled_into__isnull", True), ("given_up_at__isnull", True), ("sent_at__isnull", True)
                                ),
                                fields=["not_before"],
                                name="mail_waiting",
                            ),
                            models.Index(
                                condition=models.Q(("bundle_kind", ""), _negated=True),
                                fields=["recipient", "bundle_kind", "written_at"],
                                name="mail_of_kind",
                            ),
                        ],
                        "constraints": [models.UniqueConstraint(fields=("dedup_key", "recipient"), name="mail_once_for_recipient")],
                    },
                ),
                migrations.CreateModel(
                    name="MailAttachment",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=100)),
                        ("media_type", models.CharField(max_length=100)),
                        ("content_id", models.CharField(blank=True, help_text="For <img src=cid:...>; empty for a file.", max_length=100)),
                        ("content", models.BinaryField()),
                        (
                            "mail",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="attachments", to="certs.outgoingmail"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="OwnerChange",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("actor_kind", models.CharField(max_length=16)),
                        ("actor_name", models.CharField(max_length=150)),
                        ("certificates", models.JSONField()),
                        ("total", models.PositiveIntegerField()),
                        ("done", models.PositiveIntegerField(default=0)),
                        ("changed", models.PositiveIntegerField(default=0)),
                        ("ordered_at", models.DateTimeField()),
                        ("ended_at", models.DateTimeField(null=True)),
                        (
                            "owner",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "person",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="PlannedRevocation",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        (
                            "reason",
                            models.CharField(
                                choices=[
                                    ("unspecified", "unspecified"),
                                    ("keyCompromise", "keyCompromise"),
                                    ("cACompromise", "cACompromise"),
                                    ("affiliationChanged", "affiliationChanged"),
                                    ("superseded", "superseded"),
                                    ("cessationOfOperation", "cessationOfOperation"),
                                    ("certificateHold", "certificateHold"),
                                    ("privilegeWithdrawn", "privilegeWithdrawn"),
                                    ("aACompromise", "aACompromise"),
                                ],
                                max_length=24,
                            ),
                        ),
                        ("requested_by", models.CharField(max_length=150)),
                        ("requested_at", models.DateTimeField()),
                        (
                            "when_issued",
                            models.BooleanField(help_text="Revoked once the replacement is issued; else at the deadline only."),
                        ),
                        ("deadline", models.DateTimeField(help_text="Revoked then, whatever became of the replacement.")),
                        (
                            "spared",
                            models.JSONField(default=list, help_text="Ids of certificates on the same key that are not revoked with it."),
                        ),
                        ("invalidity_date", models.DateTimeField(blank=True, null=True)),
                        ("comment", models.CharField(blank=True, max_length=500)),
                        ("proven", models.BooleanField(default=False, help_text="The requester signed a challenge with the key.")),
                        ("ended_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "outcome",
                            models.CharField(blank=True, choices=[("revoked", "revoked"), ("withdrawn", "withdrawn")], max_length=10),
                        ),
                        (
                            "certificate",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="planned_revocations", to="certs.certificate"
                            ),
                        ),
                        (
                            "replacement",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="planned_revocations",
                                to="certs.certificaterequest",
                            ),
                        ),
                        (
                            "requester",
                            models.ForeignKey(
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("ended_at__isnull", True)), fields=("certificate",), name="planned_revocation_open_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="PolicyEvaluation",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("policy_version", models.CharField(max_length=32)),
                        ("outcome", models.CharField(max_length=16)),
                        ("checks", models.JSONField()),
                        ("suggestion", models.JSONField(null=True)),
                        ("evaluated_at", models.DateTimeField()),
                        ("facts", models.JSONField(help_text="In the form of `policy.recorded`.", null=True)),
                        ("facts_digest", models.CharField(blank=True, db_default="", default="", max_length=64)),
                        ("rules_digest", models.CharField(blank=True, db_default="", default="", max_length=64)),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="evaluations", to="certs.certificaterequest"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="PolicyReplay",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=48, unique=True)),
                        ("version_name", models.CharField(max_length=32)),
                        ("rules_digest", models.CharField(max_length=64)),
                        ("starts", models.DateTimeField(help_text="From when the version counts in this replay.")),
                        ("days_back", models.PositiveIntegerField(help_text="Requests of so many days were judged.")),
                        ("compared_with", models.JSONField(help_text="Digests of the versions in force and planned.")),
                        ("waivers", models.JSONField(default=list)),
                        (
                            "state",
                            models.CharField(
                                choices=[("running", "Running"), ("done", "Done"), ("cancelled", "Cancelled"), ("failed", "Failed")],
                                default="running",
                                max_length=16,
                            ),
                        ),
                        ("asked_by", models.CharField(max_length=200)),
                        ("begun_at", models.DateTimeField(help_text="The inventory is as of then.")),
                        ("ended_at", models.DateTimeField(null=True)),
                        ("last_certificate", models.BigIntegerField(help_text="The newest one that was judged.")),
                        ("summary", models.JSONField(default=dict)),
                        ("error", models.CharField(blank=True, max_length=300)),
                        (
                            "version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="replays", to="policy.policyversion"
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [models.Index(condition=models.Q(("state", "running")), fields=["id"], name="replay_running")],
                    },
                ),
                migrations.CreateModel(
                    name="QuarantinedCertificate",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("order_ref", models.CharField(max_length=80)),
                        ("der", models.BinaryField()),
                        (
                            "serial_number",
                            models.CharField(blank=True, help_text="Lower-case hex; empty when it could not be read.", max_length=64),
                        ),
                        ("reasons", models.JSONField()),
                        ("received_at", models.DateTimeField()),
                        ("revoked_at", models.DateTimeField(blank=True, null=True)),
                        ("revocation_tries", models.PositiveSmallIntegerField(default=0)),
                        ("revocation_error", models.CharField(blank=True, max_length=500)),
                        (
                            "lease_until",
                            models.DateTimeField(blank=True, help_text="Until then, or since then, one worker settles it.", null=True),
                        ),
                        (
                            "issuer",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="quarantined", to="certs.issuer"),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="quarantined", to="certs.certificaterequest"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="Reissue",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("planned", "planned"),
                                    ("running", "running"),
                                    ("paused", "paused"),
                                    ("done", "done"),
                                    ("cancelled", "cancelled"),
                                ],
                                default="planned",
                                max_length=12,
                            ),
                        ),
                        ("reason", models.CharField(max_length=300)),
                        ("planned_by", models.CharField(max_length=150)),
                        ("created_at", models.DateTimeField()),
                        ("started_at", models.DateTimeField(blank=True, null=True)),
                        ("ended_at", models.DateTimeField(blank=True, null=True)),
                        ("checked", models.PositiveIntegerField(default=0, help_text="Certificates that the forecast has looked at.")),
                        ("forecast", models.JSONField(blank=True, default=dict)),
                        ("forecast_at", models.DateTimeField(blank=True, help_text="When the forecast was finished.", null=True)),
                        ("left", models.PositiveIntegerField(default=0, help_text="Valid certificates without a renewal.")),
                        ("need_person", models.PositiveIntegerField(default=0, help_text="Of those left: blocked, or switched off.")),
                        ("begun", models.PositiveIntegerField(default=0, help_text="Renewals under way.")),
                        ("issued", models.PositiveIntegerField(default=0)),
                        ("failed", models.PositiveIntegerField(default=0)),
                        ("counted_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "issuer",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="reissues", to="certs.issuer"),
                        ),
                        (
                            "target",
                            models.ForeignKey(
                                help_text="The CA that issues instead.",
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="certs.issuer",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": ("view",),
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("state__in", ["running", "paused"])), fields=("issuer",), name="reissue_under_way_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="RenewalNotice",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        (
                            "kind",
                            models.CharField(
                                choices=[
                                    ("csr", "needs a new CSR"),
                                    ("refused", "refused by the policy, or by the state of its CA"),
                                    ("failed", "failed"),
                                    ("approval", "waits for an approval"),
                                ],
                                max_length=8,
                            ),
                        ),
                        ("cause", models.CharField(help_text="The policy version, a digest of the error, or the request.", max_length=64)),
                        ("reason", models.TextField()),
                        ("advice", models.TextField()),
                        ("command", models.TextField(help_text="The OpenSSL command for a new CSR; empty where none is needed.")),
                        ("noted_at", models.DateTimeField()),
                        ("batch", models.UUIDField(help_text="The run that wrote the mails; none while they are not written.", null=True)),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.certificate"
                            ),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                db_index=False,
                                help_text="The renewal that failed or waits.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="certs.certificaterequest",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [models.Index(fields=["batch"], name="renewal_notice_batch")],
                        "constraints": [models.UniqueConstraint(fields=("certificate", "kind", "cause"), name="renewal_notice_once")],
                    },
                ),
                migrations.CreateModel(
                    name="ReplayPart",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("kind", models.CharField(choices=[("certificates", "Certificates"), ("requests", "Requests")], max_length=16)),
                        ("first", models.BigIntegerField()),
                        ("last", models.BigIntegerField()),
                        ("tries", models.PositiveSmallIntegerField(default=0)),
                        ("lease_until", models.DateTimeField(null=True)),
                        ("done_at", models.DateTimeField(null=True)),
                        ("result", models.JSONField(default=dict)),
                        (
                            "replay",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="parts", to="certs.policyreplay"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="ResponderCertificate",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("order_ref", models.CharField(help_text="Of the intent under which it was signed.", max_length=80, unique=True)),
                        ("serial_number", models.CharField(max_length=40)),
                        ("certificate_der", models.BinaryField()),
                        ("not_before", models.DateTimeField()),
                        ("not_after", models.DateTimeField()),
                        (
                            "issuer",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="responders", to="certs.issuer"),
                        ),
                        ("key", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="keys.key")),
                    ],
                    options={
                        "indexes": [models.Index(fields=["issuer", "-not_after"], name="responder_newest")],
                    },
                ),
                migrations.CreateModel(
                    name="SecondFactorGrace",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("until", models.DateTimeField()),
                        ("given_by", models.CharField(max_length=150)),
                        ("reason", models.CharField(max_length=200)),
                        (
                            "user",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE, related_name="second_factor_grace", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="SessionsEnded",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("at", models.DateTimeField()),
                        (
                            "user",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE, related_name="sessions_ended", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="SignedInSession",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("key", models.CharField(max_length=40, unique=True)),
                        ("began_at", models.DateTimeField()),
                        ("address", models.CharField(blank=True, max_length=64)),
                        ("browser", models.CharField(blank=True, max_length=80)),
                        ("last_used_at", models.DateTimeField(help_text="To within some minutes.", null=True)),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="signed_in_sessions", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Team",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("slug", models.SlugField(max_length=64, unique=True)),
                        ("name", models.CharField(max_length=128)),
                        (
                            "default_domain",
                            models.CharField(
                                blank=True,
                                help_text="Completes a bare label: api-1 becomes api-1.<default domain>. One of the team's domains or a name beneath one. Empty: bare labels are refused.",
                                max_length=253,
                            ),
                        ),
                        (
                            "organization",
                            models.CharField(
                                blank=True, help_text="Subject O of the team's certificates; never taken from a CSR.", max_length=64
                            ),
                        ),
                        ("email", models.EmailField(blank=True, max_length=254)),
                        (
                            "leads",
                            models.ManyToManyField(
                                blank=True,
                                help_text="Members who may also take people in and out, and give names away. A lead who is no member counts for nothing.",
                                related_name="led_teams",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                        ("members", models.ManyToManyField(blank=True, related_name="teams", to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    ("default_domain", ""),
                                    (
                                        "default_domain__regex",
                                        "\\A(?=.{1,253}\\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\\Z",
                                    ),
                                    _connector="OR",
                                ),
                                name="team_default_domain_is_normal",
                                violation_error_message="The default domain is not in lower-case A-label form.",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="SavedView",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=60)),
                        ("query", models.CharField(max_length=1000)),
                        ("created_at", models.DateTimeField()),
                        (
                            "person",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(
                                blank=True,
                                help_text="The team with which the view is shared; none for a private view.",
                                null=True,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="certs.team",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [models.UniqueConstraint(fields=("person", "name"), name="saved_view_name_once")],
                    },
                ),
                migrations.CreateModel(
                    name="RequestDraft",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        ("place", models.CharField(max_length=16)),
                        ("server", models.CharField(blank=True, max_length=16)),
                        ("sentence", models.TextField(blank=True)),
                        ("names", models.TextField(blank=True)),
                        ("key", models.CharField(blank=True, max_length=16)),
                        ("profile", models.CharField(blank=True, max_length=64)),
                        ("validity", models.CharField(blank=True, max_length=40)),
                        ("why", models.CharField(blank=True, max_length=500)),
                        ("notes", models.JSONField(default=list)),
                        ("csr_facts", models.JSONField(null=True)),
                        ("csr_der", models.BinaryField(default=b"")),
                        ("csr_spki", models.BinaryField(default=b"")),
                        ("created_at", models.DateTimeField()),
                        ("changed_at", models.DateTimeField()),
                        ("expires_at", models.DateTimeField(db_index=True)),
                        (
                            "owner",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="request_drafts", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "request",
                            models.OneToOneField(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="draft", to="certs.certificaterequest"
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="request_drafts", to="certs.team"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="ReplayFinding",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("outcome", models.CharField(max_length=12)),
                        ("before", models.CharField(max_length=12)),
                        ("on", models.DateField(help_text="The day on which the certificate is to be renewed, or was requested.")),
                        ("reason", models.PositiveIntegerField(help_text="Which of the texts in the result of the part.")),
                        (
                            "certificate",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="certs.certificate",
                            ),
                        ),
                        (
                            "replay",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="findings",
                                to="certs.policyreplay",
                            ),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="certs.certificaterequest",
                            ),
                        ),
                        (
                            "part",
                            models.ForeignKey(
                                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, to="certs.replaypart"
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="certs.team",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(fields=["replay", "outcome", "id"], name="replay_finding_outcome"),
                            models.Index(fields=["replay", "team", "outcome", "id"], name="replay_finding_team"),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="JoinRequest",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("why", models.CharField(max_length=300)),
                        ("asked_at", models.DateTimeField()),
                        ("decided_at", models.DateTimeField(null=True)),
                        (
                            "outcome",
                            models.CharField(
                                blank=True,
                                choices=[("accepted", "taken in"), ("declined", "declined"), ("withdrawn", "withdrawn")],
                                max_length=10,
                            ),
                        ),
                        ("answer", models.CharField(blank=True, max_length=300)),
                        (
                            "decided_by",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "person",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="join_requests", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="join_requests", to="certs.team"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(condition=models.Q(("decided_at", None)), fields=["team", "asked_at"], name="join_request_open")
                        ],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("decided_at", None)), fields=("person", "team"), name="join_request_open_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Invitation",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("address", models.EmailField(max_length=254)),
                        ("as_lead", models.BooleanField(default=False, help_text="The person is to lead the team.")),
                        ("nonce", models.CharField(max_length=64)),
                        ("token_sha256", models.CharField(max_length=64, unique=True)),
                        ("created_at", models.DateTimeField()),
                        ("sent_at", models.DateTimeField()),
                        ("sent_times", models.PositiveSmallIntegerField(default=1)),
                        ("expires_at", models.DateTimeField()),
                        ("accepted_at", models.DateTimeField(null=True)),
                        ("withdrawn_at", models.DateTimeField(null=True)),
                        (
                            "accepted_by",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "invited_by",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "role",
                            models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"),
                        ),
                        (
                            "team",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="invitations", to="certs.team"
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="GroupMapping",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        (
                            "group",
                            models.CharField(
                                help_text="A value of the groups claim, exactly as the identity provider sends it.", max_length=200
                            ),
                        ),
                        (
                            "role",
                            models.ForeignKey(
                                blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(
                                blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.team"
                            ),
                        ),
                    ],
                    options={
                        "verbose_name": "mapping of a provider's group",
                        "verbose_name_plural": "mappings of a provider's groups",
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("role__isnull", True), ("team__isnull", False)),
                                    models.Q(("role__isnull", False), ("team__isnull", True)),
                                    _connector="OR",
                                ),
                                name="group_mapping_gives_one_thing",
                                violation_error_message="Choose a team or a role, one of the two.",
                            ),
                            models.UniqueConstraint(
                                condition=models.Q(("team__isnull", False)), fields=("group", "team"), name="group_mapping_team_once"
                            ),
                            models.UniqueConstraint(
                                condition=models.Q(("role__isnull", False)), fields=("group", "role"), name="group_mapping_role_once"
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Figure",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("kind", models.CharField(max_length=16)),
                        ("value", models.CharField(blank=True, max_length=96)),
                        ("count", models.PositiveBigIntegerField()),
                        (
                            "team",
                            models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.team"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [models.Index(fields=["kind", "value"], name="figure_kind")],
                        "constraints": [
                            models.UniqueConstraint(fields=("team", "kind", "value"), name="figure_once"),
                            models.UniqueConstraint(
                                condition=models.Q(("team__isnull", True)), fields=("kind", "value"), name="figure_of_all_once"
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="DomainRequest",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("public_id", models.CharField(max_length=40, unique=True)),
                        ("domain", models.CharField(help_text="In lower-case A-label form.", max_length=253)),
                        ("why", models.CharField(max_length=500)),
                        ("requested_at", models.DateTimeField()),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("waiting", "waiting"),
                                    ("granted", "granted"),
                                    ("refused", "refused"),
                                    ("withdrawn", "withdrawn"),
                                ],
                                default="waiting",
                                max_length=12,
                            ),
                        ),
                        ("decided_at", models.DateTimeField(null=True)),
                        ("comment", models.CharField(blank=True, max_length=500)),
                        (
                            "decided_by",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "requester",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "team",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="domain_requests", to="certs.team"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(condition=models.Q(("state", "waiting")), fields=["requested_at"], name="domain_request_waiting")
                        ],
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    (
                                        "domain__regex",
                                        "\\A(?=.{1,253}\\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\\Z",
                                    )
                                ),
                                name="domain_request_is_normal",
                            ),
                            models.UniqueConstraint(
                                condition=models.Q(("state", "waiting")), fields=("domain", "team"), name="domain_request_waits_once"
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Domain",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        (
                            "name",
                            models.CharField(
                                help_text="Such as example.com. It covers every name beneath it. International names are converted.",
                                max_length=253,
                                unique=True,
                            ),
                        ),
                        ("team", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="domains", to="certs.team")),
                    ],
                    options={
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    (
                                        "name__regex",
                                        "\\A(?=.{1,253}\\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\\Z",
                                    )
                                ),
                                name="domain_name_is_normal",
                                violation_error_message="The domain is not in lower-case A-label form.",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="ComplianceDay",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("day", models.DateField()),
                        ("policy_version", models.CharField(max_length=32)),
                        ("active", models.PositiveBigIntegerField()),
                        ("failing", models.PositiveBigIntegerField()),
                        (
                            "team",
                            models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.team"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [
                            models.UniqueConstraint(fields=("team", "day"), name="compliance_day_once"),
                            models.UniqueConstraint(
                                condition=models.Q(("team__isnull", True)), fields=("day",), name="compliance_day_of_all_once"
                            ),
                        ],
                    },
                ),
                migrations.AddField(
                    model_name="certificaterequest",
                    name="team",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="requests", to="certs.team"
                    ),
                ),
                migrations.AddField(
                    model_name="certificate",
                    name="team",
                    field=models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="certificates", to="certs.team"
                    ),
                ),
                migrations.AddField(
                    model_name="bulkorder",
                    name="team",
                    field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="bulk_orders", to="certs.team"),
                ),
                migrations.AddField(
                    model_name="bulkitem",
                    name="team",
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.team"),
                ),
                migrations.CreateModel(
                    name="ApiToken",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=64)),
                        ("prefix", models.CharField(help_text="The first characters, to tell tokens apart.", max_length=12)),
                        ("sha256", models.CharField(max_length=64, unique=True)),
                        ("scopes", models.JSONField(default=list)),
                        ("profiles", models.JSONField(default=list, help_text="Profiles it may ask for; empty for all.")),
                        ("created_at", models.DateTimeField()),
                        ("expires_at", models.DateTimeField()),
                        ("revoked_at", models.DateTimeField(blank=True, null=True)),
                        ("ended_because", models.CharField(blank=True, db_default="", help_text="Why it was revoked.", max_length=200)),
                        ("last_used_at", models.DateTimeField(blank=True, help_text="To within some minutes.", null=True)),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="api_tokens", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "team",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="api_tokens", to="certs.team"),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="TrustSubscription",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("address", models.EmailField(help_text="As it was when the person subscribed.", max_length=254)),
                        ("created_at", models.DateTimeField()),
                        ("confirmed_at", models.DateTimeField(null=True)),
                        (
                            "told",
                            models.CharField(blank=True, help_text="The set of roots that the person knows (SHA-256).", max_length=64),
                        ),
                        (
                            "user",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.CASCADE, related_name="trust_subscription", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="UnclaimedResult",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("kind", models.CharField(choices=[("key", "key"), ("csr", "csr"), ("certificate", "certificate")], max_length=16)),
                        ("payload", models.BinaryField(help_text="DER of the certificate or CSR, or of the key's SubjectPublicKeyInfo.")),
                        ("chain", models.BinaryField(default=b"", help_text="PEM of the chain that came with a certificate.")),
                        ("brought_at", models.DateTimeField()),
                        ("settled_at", models.DateTimeField(blank=True, null=True)),
                        ("settlement", models.CharField(blank=True, max_length=100)),
                        (
                            "lease_until",
                            models.DateTimeField(blank=True, help_text="Until then, or since then, one worker settles it.", null=True),
                        ),
                        ("attempt", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to="certs.attempt")),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="unclaimed_results", to="certs.certificaterequest"
                            ),
                        ),
                    ],
                ),
                migrations.CreateModel(
                    name="UnknownCertificate",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("serial_number", models.CharField(max_length=64)),
                        ("der", models.BinaryField()),
                        ("subject", models.CharField(blank=True, max_length=300)),
                        ("not_before", models.DateTimeField()),
                        ("not_after", models.DateTimeField()),
                        ("found_at", models.DateTimeField()),
                        ("settled_at", models.DateTimeField(blank=True, null=True)),
                        ("settlement", models.CharField(blank=True, max_length=200)),
                        (
                            "issuer",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="unknown_certificates", to="certs.issuer"
                            ),
                        ),
                    ],
                    options={
                        "constraints": [models.UniqueConstraint(fields=("issuer", "serial_number"), name="unknown_certificate_once")],
                    },
                ),
                migrations.CreateModel(
                    name="WaiverUse",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("used_at", models.DateTimeField()),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="waiver_uses", to="certs.certificaterequest"
                            ),
                        ),
                        (
                            "waiver",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="uses", to="policy.policywaiver"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="Webhook",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("name", models.CharField(max_length=64)),
                        ("url", models.CharField(max_length=500)),
                        ("topics", models.JSONField(default=list)),
                        ("salt", models.CharField(max_length=64)),
                        ("created_at", models.DateTimeField()),
                        ("failing_since", models.DateTimeField(blank=True, null=True)),
                        ("disabled_at", models.DateTimeField(blank=True, null=True)),
                        ("removed_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "created_by",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        ("team", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="webhooks", to="certs.team")),
                    ],
                    options={
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("removed_at__isnull", True)), fields=("team", "name"), name="webhook_name_once"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="WebhookDelivery",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("message_id", models.CharField(max_length=40, unique=True)),
                        ("topic", models.CharField(max_length=32)),
                        ("body", models.TextField(help_text="The JSON document, exactly as it is signed.")),
                        ("created_at", models.DateTimeField()),
                        ("not_before", models.DateTimeField()),
                        ("tries", models.PositiveSmallIntegerField(default=0)),
                        ("lease_until", models.DateTimeField(blank=True, null=True)),
                        ("delivered_at", models.DateTimeField(blank=True, null=True)),
                        ("given_up_at", models.DateTimeField(blank=True, null=True)),
                        ("last_tried_at", models.DateTimeField(blank=True, null=True)),
                        ("last_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                        ("last_error", models.CharField(blank=True, max_length=300)),
                        (
                            "webhook",
                            models.ForeignKey(
                                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="deliveries", to="certs.webhook"
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(fields=["webhook", "-id"], name="webhook_delivery_recent"),
                            models.Index(
                                condition=models.Q(("delivered_at__isnull", True), ("given_up_at__isnull", True)),
                                fields=["not_before"],
                                name="webhook_delivery_waiting",
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="ApprovalEvidence",
                    fields=[
                        (
                            "approval",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.PROTECT,
                                primary_key=True,
                                related_name="evidence",
                                serialize=False,
                                to="certs.approval",
                            ),
                        ),
                        ("factor", models.CharField(choices=[("passkey", "passkey"), ("code", "one-time code")], max_length=8)),
                        (
                            "authenticator_id",
                            models.BigIntegerField(help_text="The second factor of the account; it may be removed later."),
                        ),
                        ("confirmed_at", models.DateTimeField()),
                        ("nonce", models.BinaryField(default=b"")),
                        ("credential_id", models.BinaryField(default=b"")),
                        ("authenticator_data", models.BinaryField(default=b"")),
                        ("client_data", models.BinaryField(default=b"")),
                        ("signature", models.BinaryField(default=b"")),
                        (
                            "lines",
                            models.ForeignKey(
                                help_text="The lines that were confirmed together with this one.",
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="certs.approvaloflines",
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                    },
                ),
                migrations.CreateModel(
                    name="ApprovalLimit",
                    fields=[
                        (
                            "request",
                            models.OneToOneField(
                                on_delete=django.db.models.deletion.PROTECT,
                                primary_key=True,
                                related_name="approval_limit",
                                serialize=False,
                                to="certs.certificaterequest",
                            ),
                        ),
                        ("lapses_at", models.DateTimeField(db_index=True)),
                        ("remind_at", models.DateTimeField(help_text="When the approvers are reminded next.", null=True)),
                    ],
                    options={
                        "default_permissions": (),
                        "indexes": [
                            models.Index(
                                condition=models.Q(("remind_at__isnull", False)), fields=["remind_at"], name="approval_limit_remind"
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="ApprovalChallenge",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("digest", models.CharField(max_length=64)),
                        ("nonce", models.BinaryField()),
                        ("expires_at", models.DateTimeField(db_index=True)),
                        (
                            "user",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "request",
                            models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="certs.certificaterequest"),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [models.UniqueConstraint(fields=("request", "user"), name="approval_challenge_one_a_person")],
                    },
                ),
                migrations.CreateModel(
                    name="ApprovalQuestion",
                    fields=[
                        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                        ("question", models.CharField(max_length=500)),
                        ("asked_at", models.DateTimeField()),
                        ("answer", models.CharField(blank=True, max_length=500)),
                        ("answered_at", models.DateTimeField(null=True)),
                        (
                            "answerer",
                            models.ForeignKey(
                                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                            ),
                        ),
                        (
                            "asker",
                            models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL),
                        ),
                        (
                            "request",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT, related_name="questions", to="certs.certificaterequest"
                            ),
                        ),
                    ],
                    options={
                        "default_permissions": (),
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("answered_at__isnull", True)), fields=("request",), name="approval_question_open_once"
                            )
                        ],
                    },
                ),
                migrations.AddConstraint(
                    model_name="crl",
                    constraint=models.UniqueConstraint(fields=("point", "number"), name="crl_number_once"),
                ),
                migrations.AddIndex(
                    model_name="certificaterequest",
                    index=models.Index(fields=["team", "-id"], name="request_team_recent"),
                ),
                migrations.AddIndex(
                    model_name="certificaterequest",
                    index=models.Index(
                        condition=models.Q(("renewed_from__isnull", False)), fields=["renewed_from"], name="request_renewal"
                    ),
                ),
                migrations.AddIndex(
                    model_name="certificaterequest",
                    index=models.Index(
                        condition=models.Q(
                            ("renewed_from__isnull", False),
                            ("state__in", ["submitted", "awaiting_approval", "approved", "key_ready", "csr_created"]),
                        ),
                        fields=["renewed_from"],
                        name="request_renewal_open",
                    ),
                ),
                migrations.AddIndex(
                    model_name="certificaterequest",
                    index=models.Index(
                        condition=models.Q(("bulk_item__isnull", True), ("door__in", ["portal", "command"])),
                        fields=["-id"],
                        include=("team", "requester"),
                        name="request_by_people",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="certificaterequest",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(
                            ("renewed_from__isnull", False), models.Q(("state__in", ["rejected", "failed", "cancelled"]), _negated=True)
                        ),
                        fields=("renewed_from",),
                        name="request_renewal_once",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="certificaterequest",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("bulk_item__isnull", False)), fields=("bulk_item",), name="request_bulk_item_once"
                    ),
                ),
                migrations.AddIndex(
                    model_name="certificate",
                    index=models.Index(fields=["team", "-id"], name="certificate_team_recent"),
                ),
                migrations.AddIndex(
                    model_name="certificate",
                    index=models.Index(
                        condition=models.Q(("status__in", ["revocation_pending", "revoked"])),
                        fields=["issuer", "crl_shard", "id"],
                        include=("status_version",),
                        name="certificate_on_crl",
                    ),
                ),
                migrations.AddIndex(
                    model_name="certificate",
                    index=models.Index(fields=["issuer", "not_after"], name="certificate_issuer_ends"),
                ),
                migrations.AddIndex(
                    model_name="certificate",
                    index=models.Index(fields=["team", "not_after"], name="certificate_team_ends"),
                ),
                migrations.AddConstraint(
                    model_name="certificate",
                    constraint=models.UniqueConstraint(fields=("issuer", "serial_number"), name="certificate_serial_once"),
                ),
                migrations.AddIndex(
                    model_name="bulkorder",
                    index=models.Index(fields=["team", "-id"], name="bulk_order_team_recent"),
                ),
                migrations.AddIndex(
                    model_name="bulkitem",
                    index=models.Index(fields=["order", "outcome", "number"], include=("id",), name="bulk_item_outcome"),
                ),
                migrations.AddIndex(
                    model_name="bulkitem",
                    index=models.Index(fields=["order", "team"], name="bulk_item_team"),
                ),
                migrations.AddIndex(
                    model_name="bulkitem",
                    index=models.Index(condition=models.Q(("duplicate", ""), _negated=True), fields=["order"], name="bulk_item_duplicate"),
                ),
                migrations.AddConstraint(
                    model_name="bulkitem",
                    constraint=models.UniqueConstraint(fields=("order", "number"), name="bulk_item_number_once"),
                ),
            ]
        ),
        migrations.RunPython(store_entries_as_they_are, migrations.RunPython.noop),
    ]
