"""The rows behind requests, certificates and issuers; one module a subject."""

from certs.models.bulk import BulkChunk, BulkItem, BulkOrder
from certs.models.cas.addition import CAAddition
from certs.models.cas.reissue import Reissue, reissue_paused, reissued_at_once
from certs.models.certificate import Certificate, CertificateBody, CertificateName, RenewalBlocked
from certs.models.deciding.confirmation import ApprovalChallenge, ApprovalEvidence, ApprovalOfLines
from certs.models.deciding.domain_request import DomainRequest
from certs.models.deciding.waiting import ApprovalLimit, ApprovalQuestion, Deputy
from certs.models.figure import ComplianceDay, Figure, FigureCount
from certs.models.installation import InstalledPlace, PlaceOutcome, StartTLS
from certs.models.inventory.act import BulkAct, BulkActLine
from certs.models.inventory.saved_view import SavedView
from certs.models.inventory.verdict import PolicyVerdict, VerdictRun
from certs.models.issuer import Chain, IssuanceIntent, Issuer, IssuerFigure
from certs.models.notices.notification import (
    DigestEntry,
    MailAttachment,
    MailChoice,
    OperatorAlert,
    OutgoingMail,
)
from certs.models.notices.reminder import ExpiryReminder, RenewalNotice
from certs.models.notices.webhook import Webhook, WebhookDelivery
from certs.models.people.account import PersonSettings, SignedInSession
from certs.models.people.api_token import ApiToken, token_sha256
from certs.models.people.joining import Invitation, JoinRequest
from certs.models.people.ownership import OwnerChange
from certs.models.people.permission import Permission, PortalRights, holders_of, holds, teams_seen_by
from certs.models.people.rate import RateCounter
from certs.models.people.sign_in import GroupMapping, SecondFactorGrace, SessionsEnded, SignInCounter
from certs.models.people.team import Domain, Team
from certs.models.people.trust import TrustSubscription
from certs.models.policies.replay import PolicyReplay, ReplayFinding, ReplayPart
from certs.models.policies.waiver_use import WaiverUse
from certs.models.report import ComplianceReport
from certs.models.request import (
    Approval,
    Attempt,
    CertificateRequest,
    PolicyEvaluation,
    QuarantinedCertificate,
    RequestCSR,
    UnclaimedResult,
    new_public_id,
)
from certs.models.request_draft import RequestDraft
from certs.models.revocation import PlannedRevocation, Revocation
from certs.models.schedule import BeatLease, QueueProgress, ScheduledJob
from certs.models.status import CRL, CRLPoint, CRLSegment, ResponderCertificate, UnknownCertificate

__all__ = [
    "CRL",
    "ApiToken",
    "Approval",
    "ApprovalChallenge",
    "ApprovalEvidence",
    "ApprovalLimit",
    "ApprovalOfLines",
    "ApprovalQuestion",
    "Attempt",
    "BeatLease",
    "BulkAct",
    "BulkActLine",
    "BulkChunk",
    "BulkItem",
    "BulkOrder",
    "CAAddition",
    "CRLPoint",
    "CRLSegment",
    "Certificate",
    "CertificateBody",
    "CertificateName",
    "CertificateRequest",
    "Chain",
    "ComplianceDay",
    "ComplianceReport",
    "Deputy",
    "DigestEntry",
    "Domain",
    "DomainRequest",
    "ExpiryReminder",
    "Figure",
    "FigureCount",
    "GroupMapping",
    "InstalledPlace",
    "Invitation",
    "IssuanceIntent",
    "Issuer",
    "IssuerFigure",
    "JoinRequest",
    "MailAttachment",
    "MailChoice",
    "OperatorAlert",
    "OutgoingMail",
    "OwnerChange",
    "Permission",
    "PersonSettings",
    "PlaceOutcome",
    "PlannedRevocation",
    "PolicyEvaluation",
    "PolicyReplay",
    "PolicyVerdict",
    "PortalRights",
    "QuarantinedCertificate",
    "QueueProgress",
    "RateCounter",
    "Reissue",
    "RenewalBlocked",
    "RenewalNotice",
    "ReplayFinding",
    "ReplayPart",
    "RequestCSR",
    "RequestDraft",
    "ResponderCertificate",
    "Revocation",
    "SavedView",
    "ScheduledJob",
    "SecondFactorGrace",
    "SessionsEnded",
    "SignInCounter",
    "SignedInSession",
    "StartTLS",
    "Team",
    "TrustSubscription",
    "UnclaimedResult",
    "UnknownCertificate",
    "VerdictRun",
    "WaiverUse",
    "Webhook",
    "WebhookDelivery",
    "holders_of",
    "holds",
    "new_public_id",
    "reissue_paused",
    "reissued_at_once",
    "teams_seen_by",
    "token_sha256",
]
