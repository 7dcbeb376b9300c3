# Role of the service `status`, which answers OCSP: sign with responders' keys, read their public halves. It makes no key, and
# what it signs with expires within a week. CRLs it only serves: those are signed by the `ca` queue.

path "transit-ocsp/keys/+" {
  capabilities = ["read"]
}

path "transit-ocsp/sign/+" {
  capabilities = ["create", "update"]
}

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
