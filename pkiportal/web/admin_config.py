"""Django's admin application with the portal's own site. Apart from the site, which needs models."""

from django.contrib.admin.apps import AdminConfig


class PortalAdminConfig(AdminConfig):
    """The admin that `pkiportal.web.admin_site` describes."""

    default_site = "pkiportal.web.admin_site.PortalAdmin"
