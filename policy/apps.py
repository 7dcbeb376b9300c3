from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class PolicyConfig(AppConfig):
    name = "policy"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models exist only from here on.
        from django.contrib.auth import get_user_model  # noqa: PLC0415

        from policy.persons import note_new_account  # noqa: PLC0415
        from policy.triggers import put_back  # noqa: PLC0415

        post_save.connect(note_new_account, sender=get_user_model(), dispatch_uid="policy.persons")
        post_migrate.connect(put_back, sender=self, dispatch_uid="policy.triggers")
