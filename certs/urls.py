"""The portal's addresses."""

from django.urls import path

from certs.views import home
from certs.views.account import account, mails, send_again, tokens, webhooks
from certs.views.audit import consistency as audit_consistency
from certs.views.audit import log as audit_log
from certs.views.audit import proofs as audit_proofs
from certs.views.audit import tiles as audit_tiles
from certs.views.bulk import downloads as bulk_downloads
from certs.views.bulk import new as bulk_new
from certs.views.bulk import orders as bulk
from certs.views.cas import ca_add, ca_own, ca_pages, ca_reissue
from certs.views.certificate import (
    ca_certificates,
    certificate_actions,
    certificate_page,
    certificate_renew,
    certificate_revoke,
    description,
    download,
    live_check,
)
from certs.views.estate import estate
from certs.views.estate import readiness as estate_readiness
from certs.views.help import api_guide, trust
from certs.views.inbox import deputy, inbox
from certs.views.inbox import domains as inbox_domains
from certs.views.inbox import lines as inbox_lines
from certs.views.inventory import acts, listing
from certs.views.inventory import views as saved_views
from certs.views.new import draft as new_draft
from certs.views.new import start as new_start
from certs.views.policy import editing as policy_editing
from certs.views.policy import effects as policy_effects
from certs.views.policy import versions as policy
from certs.views.policy import waivers as policy_waivers
from certs.views.request import requests
from certs.views.security import alerts, machinery, register, reports
from certs.views.sign_in import urls as sign_in
from certs.views.teams import departure, handing_over, invitations, people, team, teams
from certs.views.teams import members as team_members
from certs.views.teams import names as team_names

urlpatterns = [
    *sign_in.urlpatterns,
    path("send-again/", send_again.send_again, name="send-again"),
    path("", home.index, name="home"),
    path("new/", new_start.new, name="new"),
    path("new/csr/", new_start.with_csr, name="new-csr"),
    path("new/automatic/", new_start.automatic, name="new-automatic"),
    path("new/<str:public_id>/", new_draft.draft_page, name="new-draft"),
    path("new/<str:public_id>/csr/", new_draft.csr, name="new-draft-csr"),
    path("new/<str:public_id>/plan/", new_draft.plan_page, name="new-draft-plan"),
    path("new/<str:public_id>/submit/", new_draft.submit, name="new-draft-submit"),
    path("words/", new_start.words, name="words"),
    path("requests/", requests.index, name="requests"),
    path("requests/<str:public_id>/", requests.detail, name="request"),
    path("requests/<str:public_id>/steps/", requests.steps, name="request-steps"),
    path("requests/<str:public_id>/resume/", requests.resume, name="request-resume"),
    path("requests/<str:public_id>/decide/", requests.decide, name="request-decide"),
    path("requests/<str:public_id>/confirm/", requests.confirm, name="request-confirm"),
    path("requests/<str:public_id>/ask/", requests.ask, name="request-ask"),
    path("requests/<str:public_id>/answer/", requests.answer, name="request-answer"),
    path("requests/<str:public_id>/remind/", requests.remind, name="request-remind"),
    path("requests/<str:public_id>/cancel/", requests.cancel, name="request-cancel"),
    path("bulk/", bulk.index, name="bulk"),
    path("bulk/new/", bulk_new.new, name="bulk-new"),
    path("bulk/template.csv", bulk_new.template, {"form": "csv"}, name="bulk-template-csv"),
    path("bulk/template.xlsx", bulk_new.template, {"form": "xlsx"}, name="bulk-template-xlsx"),
    path("bulk/<str:public_id>/", bulk.detail, name="bulk-order"),
    path("bulk/<str:public_id>/lines/", bulk.lines, name="bulk-lines"),
    path("bulk/<str:public_id>/live/", bulk.live, name="bulk-live"),
    path("bulk/<str:public_id>/submit/", bulk.submit, name="bulk-submit"),
    path("bulk/<str:public_id>/suggestions/", bulk.suggestions, name="bulk-suggestions"),
    path("bulk/<str:public_id>/lines/<int:number>/", bulk.line, name="bulk-line"),
    path("bulk/<str:public_id>/act/<str:verb>/", bulk.act, name="bulk-act"),
    path("bulk/<str:public_id>/decide/", inbox_lines.decide, name="bulk-decide"),
    path("bulk/<str:public_id>/confirm/", inbox_lines.confirm, name="bulk-confirm"),
    path("bulk/<str:public_id>/<str:form>", bulk_downloads.take, name="bulk-file"),
    path("certificates/", listing.index, name="certificates"),
    path("certificates.csv", listing.download, name="certificates-csv"),
    path("certificates/acts/", acts.index, name="acts"),
    path("certificates/acts/<str:public_id>/", acts.detail, name="act"),
    path("certificates/acts/<str:public_id>/live/", acts.live, name="act-live"),
    path("certificates/acts/<str:public_id>/submit/", acts.submit, name="act-submit"),
    path("certificates/acts/<str:public_id>/<str:verb>/", acts.control, name="act-control"),
    path("certificates/views/", saved_views.save, name="view-save"),
    path("certificates/views/<int:pk>/delete/", saved_views.delete, name="view-delete"),
    path("certificates/<str:cert_id>/", certificate_page.overview, name="certificate"),
    path("certificates/<str:cert_id>/install/", certificate_page.install, name="certificate-install"),
    path("certificates/<str:cert_id>/renewals/", certificate_page.renewals, name="certificate-renewals"),
    path("certificates/<str:cert_id>/history/", certificate_page.history, name="certificate-history"),
    path("certificates/<str:cert_id>/technical/", certificate_page.technical, name="certificate-technical"),
    path("certificates/<str:cert_id>/renew/", certificate_renew.renew_page, name="certificate-renew"),
    path("certificates/<str:cert_id>/revoke/", certificate_revoke.revoke_page, name="certificate-revoke"),
    path("certificates/<str:cert_id>/withdraw/", certificate_revoke.withdraw_page, name="certificate-withdraw"),
    path("certificates/<str:cert_id>/release/", certificate_actions.release_page, name="certificate-release"),
    path("certificates/<str:cert_id>/describe/", description.form, name="certificate-describe"),
    path("certificates/<str:cert_id>/reviewed/", description.reviewed, name="certificate-reviewed"),
    path("certificates/<str:cert_id>/live/", live_check.live_check, name="live-check"),
    path("certificates/<str:cert_id>/proof.zip", audit_proofs.of_certificate, name="certificate-proof"),
    path("cas/", ca_pages.index, name="cas"),
    path("cas/<slug:slug>/", ca_pages.detail, name="ca"),
    path("certificates/<str:cert_id>/<str:form>", download.download, name="download"),
    path("estate/", estate.index, name="estate"),
    path("estate/readiness/", estate_readiness.index, name="estate-readiness"),
    path("policy/", policy.index, name="policy"),
    path("policy/new/", policy.new, name="policy-new"),
    path("policy/versions/<int:pk>/", policy.detail, name="policy-version"),
    path("policy/versions/<int:pk>/policy.yaml", policy.as_yaml, name="policy-yaml"),
    path("policy/versions/<int:pk>/edit/", policy_editing.edit, name="policy-edit"),
    path("policy/versions/<int:pk>/effect/", policy_effects.effect, name="policy-effect"),
    path("policy/versions/<int:pk>/publish/", policy.publish, name="policy-publish"),
    path("policy/versions/<int:pk>/withdraw/", policy.withdraw, name="policy-withdraw"),
    path("policy/versions/<int:pk>/delete/", policy.delete, name="policy-delete"),
    path("policy/replays/<str:public_id>/", policy_effects.replay_page, name="policy-replay"),
    path("policy/replays/<str:public_id>/cancel/", policy_effects.cancel, name="policy-replay-cancel"),
    path("policy/replays/<str:public_id>/<slug:outcome>/", policy_effects.listing, name="policy-replay-list"),
    path("policy/replays/<str:public_id>/<slug:outcome>.csv", policy_effects.listing_csv, name="policy-replay-csv"),
    path("policy/waivers/", policy_waivers.index, name="policy-waivers"),
    path("policy/waivers/new/", policy_waivers.new, name="policy-waiver-new"),
    path("policy/waivers/<int:pk>/<str:verb>/", policy_waivers.act, name="policy-waiver-act"),
    path("cas/<slug:slug>/reissue/", ca_reissue.plan, name="ca-reissue-plan"),
    path("cas/<slug:slug>/roll-over/", ca_own.succession, name="ca-roll-over"),
    path("cas/<slug:slug>/distrust/", ca_own.distrust, name="ca-distrust"),
    path("cas/own/new/", ca_own.new, name="ca-own-new"),
    path("cas/additions/new/", ca_add.start, name="ca-add"),
    path("cas/additions/of/<str:public_id>/", ca_add.detail, name="ca-addition"),
    path("cas/additions/of/<str:public_id>/<str:verb>/", ca_add.act, name="ca-addition-act"),
    path("cas/reissues/<str:public_id>/", ca_reissue.detail, name="ca-reissue"),
    path("cas/reissues/<str:public_id>/live/", ca_reissue.live, name="ca-reissue-live"),
    path("cas/reissues/<str:public_id>/act/<str:verb>/", ca_reissue.act, name="ca-reissue-act"),
    path("machinery/", machinery.index, name="machinery"),
    path("register/", register.index, name="register"),
    path("register/register.csv", register.download, name="register-csv"),
    path("reports/", reports.index, name="reports"),
    path("reports/not-compliant.csv", reports.not_compliant, name="report-list"),
    path("reports/<str:week>/", reports.detail, name="report"),
    path("reports/<str:week>/compliance<str:suffix>", reports.file, name="report-file"),
    path("inbox/", inbox.index, name="inbox"),
    path("inbox/deputy/", deputy.index, name="deputy"),
    path("teams/<slug:slug>/ask-for-domain/", inbox_domains.ask, name="domain-ask"),
    path("domain-requests/<str:public_id>/", inbox_domains.detail, name="domain-request"),
    path("domain-requests/<str:public_id>/decide/", inbox_domains.decide, name="domain-request-decide"),
    path("domain-requests/<str:public_id>/withdraw/", inbox_domains.withdraw, name="domain-request-withdraw"),
    path("alerts/", alerts.index, name="alerts"),
    path("alerts/<int:pk>/", alerts.detail, name="alert"),
    path("alerts/<int:pk>/close/", alerts.close, name="alert-close"),
    path("audit/", audit_log.index, name="audit"),
    path("audit/consistency/", audit_consistency.index, name="audit-consistency"),
    path("audit/checkpoint.txt", audit_consistency.checkpoint, name="audit-checkpoint"),
    path("audit/epoch-<int:epoch>/checkpoint", audit_tiles.checkpoint, name="audit-log-checkpoint"),
    path("audit/epoch-<int:epoch>/tile/<path:name>", audit_tiles.tile, name="audit-log-tile"),
    path("audit/events/<int:number>/proof.zip", audit_proofs.of_event, name="audit-event-proof"),
    path("audit/events.<str:form>", audit_log.export, name="audit-export"),
    path("tokens/", tokens.index, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke, name="token-revoke"),
    path("tokens/<int:pk>/rotate/", tokens.rotate, name="token-rotate"),
    path("guide/api/", api_guide.guide, name="api-guide"),
    path("account/", account.index, name="account"),
    path("account/mails/", mails.index, name="mails"),
    path("teams/", teams.index, name="teams"),
    path("new-team/", teams.new, name="team-new"),
    path("join-requests/<int:pk>/<str:verb>/", teams.join, name="join-decide"),
    path("teams/<slug:slug>/", team.names, name="team"),
    path("teams/<slug:slug>/names/", team_names.change, name="team-names"),
    path("teams/<slug:slug>/people/", team.people, name="team-people"),
    path("teams/<slug:slug>/people/<int:pk>/leave/", departure.leave, name="team-leave"),
    path("teams/<slug:slug>/people/<int:pk>/<str:verb>/", team_members.act, name="team-member"),
    path("people/", people.index, name="people"),
    path("people/<int:pk>/", people.detail, name="person"),
    path("people/<int:pk>/remove/", departure.remove, name="person-remove"),
    path("people/<int:pk>/certificates/", handing_over.index, name="person-certificates"),
    path("people/<int:pk>/<str:verb>/", people.act, name="person-act"),
    path("invite/", invitations.invite, name="invite"),
    path("invite/<int:pk>/<str:verb>/", invitations.act, name="invitation-act"),
    path("invitations/<str:token>/", invitations.accept, name="invitation"),
    path("teams/<slug:slug>/certificates/", team.certificates, name="team-certificates"),
    path("teams/<slug:slug>/tokens/", team.tokens, name="team-tokens"),
    path("teams/<slug:slug>/mails/", team.mails, name="team-mails"),
    path("teams/<slug:slug>/webhooks/", webhooks.index, name="webhooks"),
    path("teams/<slug:slug>/webhooks/<int:pk>/", webhooks.detail, name="webhook"),
    path("teams/<slug:slug>/webhooks/<int:pk>/<str:verb>/", webhooks.act, name="webhook-act"),
    path("trust/", trust.index, name="trust"),
    path("trust/mails/<str:verb>/<str:text>/", trust.mails, name="trust-mails"),
    path("trust/<slug:slug>.<str:form>", trust.file, name="trust-file"),
    path("pki/ca/<slug:slug>.crt", ca_certificates.ca_certificate, name="ca-certificate"),
]
