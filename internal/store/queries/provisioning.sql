-- name: EnsureTailnet :execrows
-- Zero rows means the purchase has its tailnet already.
INSERT INTO tailnets (id, subscription, holder, driver, display_name, name, state, step, step_since, credential, join_key, requested_at)
VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8)
ON CONFLICT (subscription) DO NOTHING;

-- name: LockTailnet :execrows
UPDATE tailnets
SET version = version + 1
WHERE id = $1;

-- name: GetTailnet :one
SELECT *
FROM tailnets
WHERE id = $1;

-- name: GetTailnetOf :one
-- The tailnet made for a purchase.
SELECT *
FROM tailnets
WHERE subscription = $1;

-- name: SaveTailnet :exec
UPDATE tailnets
SET holder = $2,
    name = $3,
    state = $4,
    step = $5,
    step_since = $6,
    waiting_for = $7,
    who_acts = $8,
    remote_id = $9,
    dns_name = $10,
    saved_policy = $11,
    key_number = $12,
    key_id = $13,
    revealed_at = $14,
    revealed_by = $15,
    ready_at = $16,
    suspended_at = $17,
    revoked_at = $18
WHERE id = $1;

-- name: SetTailnetCredential :exec
UPDATE tailnets
SET credential = $2
WHERE id = $1;

-- name: SetTailnetJoinKey :exec
-- A key that is kept is not revealed yet.
UPDATE tailnets
SET join_key = $2,
    revealed_at = 0,
    revealed_by = ''
WHERE id = $1;

-- name: EnsureTailnetUse :execrows
-- Zero rows means the purchase uses a tailnet already, since an earlier instant.
INSERT INTO tailnet_uses (subscription, tailnet, since_at)
VALUES ($1, $2, $3)
ON CONFLICT (subscription) DO NOTHING;

-- name: GetTailnetUse :one
SELECT subscription, tailnet, since_at
FROM tailnet_uses
WHERE subscription = $1;

-- name: AddEmbeddedTailnet :execrows
-- Zero rows means one of that name exists.
INSERT INTO embedded_tailnets (id, display_name, dns_name, created_at, policy, settings, parent)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (display_name) DO NOTHING;

-- name: GetEmbeddedTailnet :one
-- By id, by DNS name or by display name: a caller knows one of them.
SELECT id, display_name, dns_name, created_at, policy, settings, parent
FROM embedded_tailnets
WHERE id = $1
   OR dns_name = $1
   OR display_name = $1;

-- name: ListEmbeddedTailnets :many
SELECT id, display_name, dns_name, created_at, policy, settings, parent
FROM embedded_tailnets
WHERE id > $1
  AND parent = 0
ORDER BY id
LIMIT $2;

-- name: CountEmbeddedTailnets :one
SELECT COUNT(*)
FROM embedded_tailnets
WHERE parent = 0;

-- name: SetEmbeddedPolicy :execrows
-- Compare and swap: zero rows means somebody else wrote since it was read.
UPDATE embedded_tailnets
SET policy = $2
WHERE id = $1
  AND policy = $3;

-- name: SetEmbeddedSettings :execrows
UPDATE embedded_tailnets
SET settings = $2
WHERE id = $1
  AND settings = $3;

-- name: DeleteEmbeddedTailnet :execrows
DELETE FROM embedded_tailnets
WHERE id = $1
  AND parent = 0;

-- name: AddEmbeddedKey :exec
INSERT INTO embedded_keys (id, tailnet, kind, secret_hash, description, scopes, tags, reusable, ephemeral, preauthorized, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: GetEmbeddedKey :one
SELECT *
FROM embedded_keys
WHERE id = $1;

-- name: GetEmbeddedKeyBySecret :one
SELECT *
FROM embedded_keys
WHERE secret_hash = $1;

-- name: ListEmbeddedKeys :many
SELECT *
FROM embedded_keys
WHERE tailnet = $1
ORDER BY created_at, id;

-- name: RevokeEmbeddedKey :execrows
UPDATE embedded_keys
SET revoked_at = $3
WHERE tailnet = $1
  AND id = $2
  AND revoked_at = 0;

-- name: UseEmbeddedKey :execrows
-- Zero rows means it may not be used (again).
UPDATE embedded_keys
SET used_at = $2
WHERE id = $1
  AND kind = 'auth'
  AND revoked_at = 0
  AND expires_at > $2
  AND (reusable = 1 OR used_at = 0);

-- name: AddEmbeddedParent :execrows
INSERT INTO embedded_parent (id, client, secret)
VALUES (1, $1, $2)
ON CONFLICT (id) DO NOTHING;

-- name: GetEmbeddedParent :one
SELECT client, secret
FROM embedded_parent
WHERE id = 1;

-- name: AddEmbeddedToken :exec
INSERT INTO embedded_tokens (token_hash, client, tailnet, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5);

-- name: SweepEmbeddedTokens :exec
DELETE FROM embedded_tokens
WHERE expires_at <= $1;

-- name: GetEmbeddedToken :one
-- A token dies with its client.
SELECT t.client, t.tailnet, t.scopes
FROM embedded_tokens t
JOIN embedded_keys k ON k.id = t.client
WHERE t.token_hash = $1
  AND t.expires_at > $2
  AND k.revoked_at = 0;

-- name: AddEmbeddedUser :exec
INSERT INTO embedded_users (tailnet, id, login_name, created_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tailnet, id) DO NOTHING;

-- name: EndEmbeddedUser :execrows
UPDATE embedded_users
SET left_at = $3
WHERE tailnet = $1
  AND id = $2
  AND left_at = 0;

-- name: GetEmbeddedUser :one
SELECT *
FROM embedded_users
WHERE tailnet = $1
  AND id = $2;

-- name: ListEmbeddedUsers :many
-- Who is there at an instant.
SELECT *
FROM embedded_users
WHERE tailnet = $1
  AND created_at <= $2
  AND (left_at = 0 OR left_at > $2)
ORDER BY created_at, id;

-- name: AddEmbeddedNode :exec
INSERT INTO embedded_nodes (id, tailnet, hostname, login_name, tags, ephemeral, external, authorized, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO NOTHING;

-- name: EndEmbeddedNode :execrows
UPDATE embedded_nodes
SET left_at = $3
WHERE tailnet = $1
  AND id = $2
  AND left_at = 0;

-- name: AuthorizeEmbeddedNode :execrows
UPDATE embedded_nodes
SET authorized = $3
WHERE tailnet = $1
  AND id = $2
  AND left_at = 0;

-- name: GetEmbeddedNode :one
SELECT *
FROM embedded_nodes
WHERE id = $1;

-- name: ListEmbeddedNodes :many
SELECT *
FROM embedded_nodes
WHERE tailnet = $1
  AND created_at <= $2
  AND (left_at = 0 OR left_at > $2)
ORDER BY created_at, id;
