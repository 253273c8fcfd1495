-- name: EnsureCustomer :one
-- The account's customer; the update changes nothing and locks the row that is there.
INSERT INTO customers (id, marketplace, account, created_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (marketplace, account) DO UPDATE
SET account = excluded.account
RETURNING id, marketplace, account, created_at;

-- name: EnsureSubscription :one
-- The purchase's subscription; one that is there is locked and returned as it is.
INSERT INTO subscriptions (id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
ON CONFLICT (marketplace, purchase) DO UPDATE
SET version = subscriptions.version + 1
RETURNING id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing;

-- name: LockSubscription :one
UPDATE subscriptions
SET version = version + 1
WHERE id = $1
RETURNING id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing;

-- name: SaveSubscription :execrows
-- The row is locked, so the version need not be asked for.
UPDATE subscriptions
SET plan = $2,
    lineage = $3,
    predecessor = $4,
    replaces = $5,
    tailnet_name = $6,
    name_chosen = $7,
    tailnet_of = $8,
    facts = $9,
    cut_over = $10,
    claimed_at = $11,
    starts_at = $12,
    ready_at = $13,
    ends_at = $14,
    closed_at = $15,
    listing = $16,
    version = version + 1
WHERE id = $1;

-- name: GetSubscription :one
SELECT id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing
FROM subscriptions
WHERE id = $1;

-- name: SubscriptionByPurchase :one
SELECT id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing
FROM subscriptions
WHERE marketplace = $1
  AND purchase = $2;

-- name: ListSubscriptions :many
-- Oldest first: ids sort by the time they were made.
SELECT id, marketplace, purchase, account, product, plan, customer, lineage, predecessor, replaces, tailnet_name, name_chosen, tailnet_of, facts, cut_over, claimed_at, starts_at, ready_at, ends_at, closed_at, version, created_at, listing
FROM subscriptions
WHERE (CAST($1 AS TEXT) = '' OR marketplace = $1)
  AND (CAST($2 AS TEXT) = '' OR product = $2)
  AND (CAST($3 AS TEXT) = '' OR customer = $3)
  AND id > $4
ORDER BY id
LIMIT $5;

-- name: SubscriptionsReplacing :many
-- Those that said they continue this purchase or agreement.
SELECT id
FROM subscriptions
WHERE marketplace = $1
  AND replaces = $2
ORDER BY id;

-- name: LinkAgreement :one
-- The first link stands; the update changes nothing and returns whose it is.
INSERT INTO agreements (marketplace, agreement, subscription, linked_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (marketplace, agreement) DO UPDATE
SET linked_at = agreements.linked_at
RETURNING subscription;

-- name: SubscriptionByAgreement :one
SELECT subscription
FROM agreements
WHERE marketplace = $1
  AND agreement = $2;

-- name: ListAgreements :many
SELECT marketplace, agreement, subscription, linked_at
FROM agreements
WHERE subscription = $1
ORDER BY linked_at, agreement;

-- name: SaveTerms :exec
INSERT INTO terms (subscription, fingerprint, plan, named_plan, offer, agreement, private, quantities, status, from_at, to_at, stated_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (subscription, fingerprint) DO UPDATE
SET plan = excluded.plan,
    named_plan = excluded.named_plan,
    offer = excluded.offer,
    private = excluded.private,
    quantities = excluded.quantities,
    status = excluded.status,
    from_at = excluded.from_at,
    to_at = excluded.to_at,
    stated_at = excluded.stated_at,
    version = excluded.version;

-- name: ListTerms :many
SELECT subscription, fingerprint, plan, named_plan, offer, agreement, private, quantities, status, from_at, to_at, stated_at, version
FROM terms
WHERE subscription = $1
ORDER BY stated_at, fingerprint;

-- name: AddLine :exec
INSERT INTO subscription_events (id, subscription, marketplace, agreement, kind, delivery, recorded_at, happened_at, version, changed, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: ListLines :many
SELECT id, subscription, marketplace, agreement, kind, delivery, recorded_at, happened_at, version, changed, body
FROM subscription_events
WHERE subscription = $1
ORDER BY id;

-- name: WaitingLines :many
-- Events that came before anything told which purchase their agreement is.
SELECT id, subscription, marketplace, agreement, kind, delivery, recorded_at, happened_at, version, changed, body
FROM subscription_events
WHERE marketplace = $1
  AND agreement = $2
  AND subscription = ''
ORDER BY id;

-- name: AdoptLine :exec
UPDATE subscription_events
SET subscription = $2,
    changed = $3
WHERE id = $1
  AND subscription = '';

-- name: GetProductState :one
SELECT product, mode, cut_over, actor, changed_at
FROM product_states
WHERE product = $1;

-- name: SaveProductState :exec
INSERT INTO product_states (product, mode, cut_over, actor, changed_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (product) DO UPDATE
SET mode = excluded.mode,
    cut_over = excluded.cut_over,
    actor = excluded.actor,
    changed_at = excluded.changed_at;

-- name: AddClaim :exec
INSERT INTO claims (id, subscription, token_hash, opened_at, expires_at, state, invited_by, sends, email, email_hash, verified_at, version, person, buyers, vouched)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: LockClaim :one
UPDATE claims
SET version = version + 1
WHERE id = $1
RETURNING id, subscription, token_hash, opened_at, expires_at, state, invited_by, sends, email, email_hash, verified_at, version, person, buyers, vouched;

-- name: LockClaimByToken :one
UPDATE claims
SET version = version + 1
WHERE token_hash = $1
RETURNING id, subscription, token_hash, opened_at, expires_at, state, invited_by, sends, email, email_hash, verified_at, version, person, buyers, vouched;

-- name: ClaimByToken :one
SELECT id, subscription, token_hash, opened_at, expires_at, state, invited_by, sends, email, email_hash, verified_at, version, person, buyers, vouched
FROM claims
WHERE token_hash = $1;

-- name: ListClaims :many
SELECT id, subscription, token_hash, opened_at, expires_at, state, invited_by, sends, email, email_hash, verified_at, version, person, buyers, vouched
FROM claims
WHERE subscription = $1
ORDER BY id;

-- name: SaveClaim :execrows
UPDATE claims
SET state = $2,
    sends = $3,
    email = $4,
    email_hash = $5,
    verified_at = $6,
    invited_by = $7,
    person = $8,
    version = version + 1
WHERE id = $1;

-- name: AddMailLink :exec
INSERT INTO claim_mails (token_hash, claim, email, email_hash, queued_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: FindMailLink :one
SELECT token_hash, claim, email, email_hash, queued_at, expires_at
FROM claim_mails
WHERE token_hash = $1;

-- name: NextAudit :one
-- Takes the next place in the chain and locks its head.
UPDATE audit_head
SET seq = seq + 1
WHERE id = 1
RETURNING seq, hash;

-- name: SetAuditHead :exec
UPDATE audit_head
SET hash = $1
WHERE id = 1;

-- name: AddAudit :exec
INSERT INTO audit (seq, at, actor, action, subject, detail, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: ListAudit :many
SELECT seq, at, actor, action, subject, detail, hash
FROM audit
WHERE seq > $1
ORDER BY seq
LIMIT $2;

-- name: MoveLineage :exec
-- A chain that was learnt from its end: everything under one root goes under the older one.
UPDATE subscriptions
SET lineage = $2
WHERE lineage = $1;

-- name: LockProductState :one
-- Makes the row (observing) if there is none; the update changes nothing and locks it.
INSERT INTO product_states (product, mode, cut_over, actor, changed_at)
VALUES ($1, 'observe', 0, '', $2)
ON CONFLICT (product) DO UPDATE
SET product = excluded.product
RETURNING product, mode, cut_over, actor, changed_at;
