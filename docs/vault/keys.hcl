# Role of the `keys` queue: make leaf keys that can never leave, read their public halves, sign CSRs with them, rotate them.
# Not here, on purpose: config (it could allow export), export, backup, restore, delete.

path "transit-leaf/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = []
    "exportable" = [false]
  }
}

path "transit-leaf/keys" {
  capabilities = ["list"]
}

path "transit-leaf/keys/+/rotate" {
  capabilities = ["create", "update"]
}

path "transit-leaf/sign/+" {
  capabilities = ["create", "update"]
}

# What this token may do: asked before requests that wait go on.
path "sys/capabilities-self" { capabilities = ["update"] }

# Its own token: renewed at two thirds of its life, given up at the end.
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
