"""The Django admin alone: the policy room's pages need no other room's addresses."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
