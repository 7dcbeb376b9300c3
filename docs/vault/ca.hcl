# Role of the `ca` queue and of `ca-api`: sign certificates with the CA's key. It makes no key and reads no leaf key.

path "transit-ca/keys/+" {
  capabilities = ["read"]
}

path "transit-ca/sign/+" {
  capabilities = ["create", "update"]
}

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
