-- name: AddSession :exec
INSERT INTO sessions (token_hash, kind, actor, subject, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: FindSession :one
-- A session that has not expired.
SELECT kind, actor, subject, created_at, expires_at
FROM sessions
WHERE token_hash = $1
  AND expires_at > $2;

-- name: DeleteSession :exec
DELETE FROM sessions
WHERE token_hash = $1;

-- name: DeleteExpiredSessions :exec
DELETE FROM sessions
WHERE expires_at <= $1;

-- name: AddOperatorLink :exec
INSERT INTO operator_links (token_hash, created_at, expires_at)
VALUES ($1, $2, $3);

-- name: UseOperatorLink :execrows
-- Spends a link; zero rows means unknown, expired or already used.
UPDATE operator_links
SET used_at = $2
WHERE token_hash = $1
  AND used_at = 0
  AND expires_at > $2;

-- name: DeleteOperatorLinks :exec
-- Links that can no longer be used.
DELETE FROM operator_links
WHERE expires_at <= $1;

-- name: AddAPIKey :exec
INSERT INTO api_keys (id, token_hash, name, sources, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: FindAPIKey :one
SELECT id, token_hash, name, sources, created_at, created_by, last_used_at, revoked_at, revoked_by
FROM api_keys
WHERE token_hash = $1;

-- name: ListAPIKeys :many
SELECT id, token_hash, name, sources, created_at, created_by, last_used_at, revoked_at, revoked_by
FROM api_keys
ORDER BY id;

-- name: TouchAPIKey :exec
-- Never back.
UPDATE api_keys
SET last_used_at = $2
WHERE id = $1
  AND last_used_at < $2;

-- name: RevokeAPIKey :execrows
-- Zero rows: there is none, or it was revoked before.
UPDATE api_keys
SET revoked_at = $2,
    revoked_by = $3
WHERE id = $1
  AND revoked_at = 0;
