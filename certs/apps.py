from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate


class CertsConfig(AppConfig):
    name = "certs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models exist only from here on.
        from certs.access.changes_of_power import record_changes_of_power  # noqa: PLC0415
        from certs.access.leaving import connect_receivers  # noqa: PLC0415
        from certs.access.roles import ensure_roles  # noqa: PLC0415
        from certs.access.sessions import connect_signals  # noqa: PLC0415
        from certs.installation import checks  # noqa: F401, PLC0415 - registers the system check
        from certs.inventory.name_index import check_name_index, make_after_migrate  # noqa: PLC0415
        from certs.notifications.changes_of_power import connect_notices  # noqa: PLC0415
        from certs.people.invitations import connect_links  # noqa: PLC0415

        record_changes_of_power()
        connect_notices()
        post_migrate.connect(ensure_roles, sender=self, dispatch_uid="certs.access.roles")
        register(check_name_index, Tags.database)
        post_migrate.connect(make_after_migrate, sender=self, dispatch_uid="certs.inventory.name_index")
        connect_receivers()
        connect_links()
        connect_signals()
