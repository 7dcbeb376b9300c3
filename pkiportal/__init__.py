"""Settings, URLs, the Celery application and the commands that run the whole house. Knows every app; no app knows it."""

from pkiportal.celery import app as celery_app

__all__ = ["celery_app"]
