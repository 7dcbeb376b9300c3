"""Every address of the portal, but for machine endpoints, CRL and OCSP, which are served before Django's routes."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from certs.api import api
from certs.views.sign_in.login import admin_door, change_password
from pkiportal.web.error_pages import no_address

urlpatterns = [
    path("api/v1", no_address),
    path("api/v1/guide", RedirectView.as_view(pattern_name="api-guide")),
    path("api/v1/", api.urls),  # first, because programs call it most often
    # One sign-in: the portal's own counts wrong passwords and writes the audit log, the admin's own would not.
    path("admin/login/", admin_door),
    path("admin/password_change/", change_password),
    path("admin/", admin.site.urls),
    path("", include("certs.urls")),
]

handler400 = "pkiportal.web.error_pages.bad_request"
handler403 = "pkiportal.web.error_pages.forbidden"
handler404 = "pkiportal.web.error_pages.not_found"
handler500 = "pkiportal.web.error_pages.server_error"
