-- name: AppliedCatalog :one
-- The catalog in force.
SELECT a.seq, a.version, v.hash, v.text, a.applied_at, a.applied_by, a.reason
FROM catalog_applied a
JOIN catalog_versions v ON v.version = a.version
ORDER BY a.seq DESC
LIMIT 1;

-- name: CatalogSeq :one
-- What says that another catalog is in force; 0: none was applied.
SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) AS seq
FROM catalog_applied;

-- name: CatalogText :one
SELECT text
FROM catalog_versions
WHERE version = $1;

-- name: KeepCatalog :one
-- The text of a version is kept once; the update changes nothing and returns the row that is there.
INSERT INTO catalog_versions (version, hash, text, kept_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (version) DO UPDATE
SET version = excluded.version
RETURNING hash;

-- name: AddApplied :execrows
-- No row: another was applied at the same moment.
INSERT INTO catalog_applied (seq, version, applied_at, applied_by, reason)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (seq) DO NOTHING;

-- name: ListApplied :many
SELECT a.seq, a.version, v.hash, a.applied_at, a.applied_by, a.reason
FROM catalog_applied a
JOIN catalog_versions v ON v.version = a.version
ORDER BY a.seq DESC
LIMIT $1;

-- name: RunningPurchases :many
-- Whose bills are counting: whatever is not closed, by every plan its terms had.
SELECT s.marketplace, s.product, t.plan, COUNT(DISTINCT s.id) AS purchases
FROM subscriptions s
JOIN (
    SELECT id AS subscription, plan FROM subscriptions
    UNION
    SELECT subscription, plan FROM terms WHERE status = 'effective'
) t ON t.subscription = s.id
WHERE s.closed_at = 0
GROUP BY s.marketplace, s.product, t.plan
ORDER BY s.marketplace, s.product, t.plan;
