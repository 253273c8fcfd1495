-- name: EnsurePartner :one
-- The partner of this name; the update changes nothing and returns the row that is there.
INSERT INTO partners (id, name, folded, created_at, created_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (folded) DO UPDATE
SET folded = excluded.folded
RETURNING id, name, folded, created_at, created_by;

-- name: ListPartners :many
SELECT id, name, folded, created_at, created_by
FROM partners
ORDER BY id;

-- name: AddPartnerKey :execrows
INSERT INTO partner_keys (marketplace, kind, value, partner, recorded_at, recorded_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (marketplace, kind, value) DO NOTHING;

-- name: PartnerOfKey :one
SELECT partner
FROM partner_keys
WHERE marketplace = $1
  AND kind = $2
  AND value = $3;

-- name: ListPartnerKeys :many
SELECT marketplace, kind, value, partner, recorded_at, recorded_by
FROM partner_keys
ORDER BY marketplace, kind, value;

-- name: EnsureReferralLink :one
-- The partner's link to a listing; the update changes nothing and returns the row that is there.
INSERT INTO referral_links (id, partner, marketplace, product, made_at, made_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (partner, marketplace, product) DO UPDATE
SET partner = excluded.partner
RETURNING id, partner, marketplace, product, made_at, made_by;

-- name: FindReferralLink :one
SELECT id, partner, marketplace, product, made_at, made_by
FROM referral_links
WHERE id = $1;

-- name: ListReferralLinks :many
SELECT id, partner, marketplace, product, made_at, made_by
FROM referral_links
ORDER BY id;

-- name: NoteSale :exec
-- Said again it changes nothing, unless the vendor dates it earlier: which message came first must not matter.
INSERT INTO sales (marketplace, subscription, offer, private, reseller, said_at, message, heard_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (marketplace, subscription, offer, private, reseller) DO UPDATE
SET said_at = excluded.said_at,
    message = excluded.message
WHERE excluded.said_at < sales.said_at
   OR (excluded.said_at = sales.said_at AND excluded.message < sales.message);

-- name: AddLinkTouch :exec
INSERT INTO touches (id, subscription, kind, link, partner, said, claim, touched_at, recorded_at)
VALUES ($1, $2, 'link', $3, $4, $5, $6, $7, $8)
ON CONFLICT (subscription, claim, kind, link) DO NOTHING;

-- name: AddSaidTouch :exec
-- The last answer of a visit counts.
INSERT INTO touches (id, subscription, kind, link, partner, said, claim, touched_at, recorded_at)
VALUES ($1, $2, 'said', '', '', $3, $4, $5, $6)
ON CONFLICT (subscription, claim, kind, link) DO UPDATE
SET said = excluded.said,
    touched_at = excluded.touched_at,
    recorded_at = excluded.recorded_at;

-- name: EvidenceCustomers :many
SELECT id, marketplace, account
FROM customers
WHERE id > $1
ORDER BY id
LIMIT $2;

-- name: EvidencePurchases :many
-- Of the customers from after $1 to $2, as in the queries below.
SELECT id, customer, purchase, product, plan, starts_at, created_at
FROM subscriptions
WHERE customer > $1
  AND customer <= $2
ORDER BY customer, id;

-- name: EvidenceSales :many
SELECT p.id, s.offer, s.private, s.reseller, s.said_at, s.message
FROM sales s
JOIN subscriptions p ON p.id = s.subscription
WHERE p.customer > $1
  AND p.customer <= $2
ORDER BY p.id, s.said_at;

-- name: EvidenceOffers :many
-- What was said of offers that purchases of these customers name.
SELECT DISTINCT p.id, o.offer, o.private, o.reseller, o.said_at, o.message
FROM subscriptions p
JOIN sales s ON s.subscription = p.id
JOIN sales o ON o.marketplace = s.marketplace AND o.offer = s.offer
WHERE p.customer > $1
  AND p.customer <= $2
  AND s.offer <> ''
  AND o.subscription = ''
ORDER BY p.id, o.said_at;

-- name: EvidenceTouches :many
SELECT t.id, t.subscription, t.kind, t.link, t.partner, t.said, t.claim, t.touched_at, t.recorded_at
FROM touches t
JOIN subscriptions p ON p.id = t.subscription
WHERE p.customer > $1
  AND p.customer <= $2
ORDER BY t.id;
