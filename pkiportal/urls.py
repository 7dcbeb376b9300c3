"""Every address the portal answers."""

from django.contrib import admin
from django.urls import include, path

from certs.api import api
from pkiportal.health import healthz, readyz

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("", include("certs.urls")),
]
