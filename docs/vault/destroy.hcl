# For destroying a leaf key on purpose (key compromise), and an OCSP responder's whose time is over. Kept apart: whoever may write `config` might otherwise allow export,
# so the only parameter it may write is `deletion_allowed`.

path "transit-leaf/keys/+" {
  capabilities = ["read", "delete"]
}

path "transit-leaf/keys/+/config" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "deletion_allowed" = [true]
  }
}

path "transit-ocsp/keys/+" {
  capabilities = ["read", "delete"]
}

path "transit-ocsp/keys/+/config" {
  capabilities = ["create", "update"]
  allowed_parameters = {
    "deletion_allowed" = [true]
  }
}

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
