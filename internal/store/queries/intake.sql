-- name: EnsureDelivery :one
-- Keeps a message. One that is there is locked, counted as a copy and returned.
INSERT INTO deliveries (id, marketplace, vendor_id, variant, body_hash, channel, kind, source, signed, sent_at, received_at, body, body_key, customer, copies, state, reason, settled_at, settled_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (marketplace, vendor_id, variant) DO UPDATE
SET copies = deliveries.copies + 1
RETURNING id, marketplace, vendor_id, variant, body_hash, channel, kind, source, signed, sent_at, received_at, customer, copies, state, reason, settled_at, settled_by;

-- name: LockDelivery :one
UPDATE deliveries
SET copies = copies
WHERE id = $1
RETURNING id, marketplace, vendor_id, variant, body_hash, channel, kind, source, signed, sent_at, received_at, body, body_key, customer, copies, state, reason, settled_at, settled_by;

-- name: SettleDelivery :execrows
UPDATE deliveries
SET state = $2,
    reason = $3,
    settled_at = $4,
    settled_by = $5
WHERE id = $1;

-- name: RewrapDelivery :execrows
-- The body's key is the customer's from now on.
UPDATE deliveries
SET body_key = $2,
    customer = $3
WHERE id = $1
  AND customer = '';

-- name: GetDelivery :one
SELECT id, marketplace, vendor_id, variant, body_hash, channel, kind, source, signed, sent_at, received_at, body, body_key, customer, copies, state, reason, settled_at, settled_by
FROM deliveries
WHERE id = $1;

-- name: ListDeliveries :many
-- In one state, newest first; an empty cursor is the start.
SELECT id, marketplace, vendor_id, variant, body_hash, channel, kind, source, signed, sent_at, received_at, customer, copies, state, reason, settled_at, settled_by
FROM deliveries
WHERE state = $1
  AND (CAST($2 AS TEXT) = '' OR id < $2)
ORDER BY id DESC
LIMIT $3;

-- name: CountDeliveries :many
-- Received is what came in, copies included; a conflict is no duplicate.
SELECT state, COUNT(*) AS kept, CAST(COALESCE(SUM(copies), 0) AS BIGINT) AS copies
FROM deliveries
GROUP BY state;

-- name: EnsureCustomerKey :one
-- The customer's key; the one that is there stays.
INSERT INTO customer_keys (customer, wrapped, created_at)
VALUES ($1, $2, $3)
ON CONFLICT (customer) DO UPDATE
SET created_at = customer_keys.created_at
RETURNING wrapped;

-- name: GetCustomerKey :one
SELECT wrapped
FROM customer_keys
WHERE customer = $1;

-- name: GetSweep :one
SELECT cursor_at, full_at
FROM sweeps
WHERE marketplace = $1;

-- name: SaveSweep :exec
INSERT INTO sweeps (marketplace, cursor_at, full_at)
VALUES ($1, $2, $3)
ON CONFLICT (marketplace) DO UPDATE
SET cursor_at = excluded.cursor_at,
    full_at = excluded.full_at;
