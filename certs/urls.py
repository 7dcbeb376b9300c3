"""The portal's pages."""

urlpatterns = []
