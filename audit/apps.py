"""The audit package: append-only event log, sealing, verification, export. It knows only strings; every other package may write to it."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = "Audit log"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from audit.checks import check_triggers  # noqa: PLC0415 - models are ready only now
        from audit.triggers import install_after_migrate  # noqa: PLC0415
        from db.pipeline import prepare_statements  # noqa: PLC0415

        register(check_triggers, Tags.database)
        connection_created.connect(prepare_statements, dispatch_uid="db.pipeline")
        post_migrate.connect(install_after_migrate, sender=self, dispatch_uid="audit.triggers")
