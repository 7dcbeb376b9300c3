# Role of the `ca` queue and of `ca-api`: sign certificates and CRLs with the CA's key. It makes no CA key and reads no leaf key.

path "transit-ca/keys/+" {
  capabilities = ["read"]
}

path "transit-ca/sign/+" {
  capabilities = ["create", "update"]
}

# Keys of OCSP responders: a new one every three days. It makes them, and never signs with them.
path "transit-ocsp/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = []
    "exportable" = [false]
  }
}

# What this token may do: asked before requests that wait go on.
path "sys/capabilities-self" { capabilities = ["update"] }

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
