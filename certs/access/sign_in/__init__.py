"""Sign-in with django-allauth: its adapters, second factors, identity providers."""
