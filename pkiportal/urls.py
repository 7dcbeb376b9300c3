"""Every address the portal answers."""

from django.contrib import admin
from django.urls import include, path

from certs.api import api
from certs.views.session import admin_door
from pkiportal.health import healthz, readyz
from pkiportal.metrics import metrics

urlpatterns = [
    path("api/v1/", api.urls),  # first, because programs ask most often
    # One door: the portal's sign-in counts wrong passwords and writes the audit log, the admin's own would not.
    path("admin/login/", admin_door),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("", include("certs.urls")),
]
