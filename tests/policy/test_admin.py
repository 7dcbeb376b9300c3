"""Profiles are made in the admin: their usages are chosen from those that a certificate can have."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from policy.models import Profile
from policy.rules.profiles import KNOWN_EKUS

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ADD = "admin:policy_profile_add"


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_the_usages_that_exist_are_offered(root: Client) -> None:
    page = root.get(reverse(ADD)).content.decode()
    assert all(f'value="{eku}"' in page for eku in KNOWN_EKUS)


def test_profile_has_the_usages_that_were_chosen(root: Client) -> None:
    answer = root.post(reverse(ADD), {"name": "mail", "ekus": ["emailProtection", "clientAuth"]})
    assert answer.status_code == 302
    assert set(Profile.objects.get(name="mail").ekus) == {"emailProtection", "clientAuth"}


def test_chosen_usages_are_shown_again(root: Client) -> None:
    row = Profile.objects.create(name="mail", ekus=["emailProtection"])
    page = root.get(reverse("admin:policy_profile_change", args=[row.pk])).content.decode()
    assert page.count("checked") == 1


@pytest.mark.parametrize("ekus", [[], ["serverauth"], ["9" * 5000], ["[" * 5000], ['["serverAuth"]']])
def test_other_usages_are_refused_at_their_field(root: Client, ekus: list[str]) -> None:
    answer = root.post(reverse(ADD), {"name": "mail", "ekus": ekus})
    assert answer.status_code == 200
    assert "ekus" in answer.context["adminform"].form.errors
    assert not Profile.objects.filter(name="mail").exists()
