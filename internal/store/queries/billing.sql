-- name: BillingAccount :one
SELECT subscription, lineage, marketplace, product, covered_to, final_at
FROM billing_accounts
WHERE subscription = $1;

-- name: BillingAccounts :many
SELECT subscription, lineage, marketplace, product, covered_to, final_at
FROM billing_accounts
ORDER BY subscription;

-- name: SaveBillingAccount :exec
-- Makes an account or moves it to another lineage. What is covered and finished has statements of its own.
INSERT INTO billing_accounts (subscription, lineage, marketplace, product)
VALUES ($1, $2, $3, $4)
ON CONFLICT (subscription) DO UPDATE
SET lineage = excluded.lineage;

-- name: CoverUsage :execrows
-- Zero rows: another collection was stored meanwhile.
UPDATE billing_accounts
SET covered_to = $3
WHERE subscription = $1
  AND covered_to = $2;

-- name: FinishBilling :execrows
-- The final seal is made once.
UPDATE billing_accounts
SET final_at = $2
WHERE subscription = $1
  AND final_at = 0;

-- name: LineageMembers :many
SELECT subscription
FROM billing_accounts
WHERE lineage = $1
ORDER BY subscription;

-- name: LockBilling :exec
-- Makes the scope's row or raises its version; either way it is locked until the transaction ends.
INSERT INTO billing_scopes (lineage, meter, version)
VALUES ($1, $2, 1)
ON CONFLICT (lineage, meter) DO UPDATE
SET version = billing_scopes.version + 1;

-- name: SealedTo :one
SELECT sealed_to
FROM billing_meters
WHERE subscription = $1
  AND meter = $2;

-- name: SaveSealedTo :exec
-- Never back: an hour that is sealed stays sealed.
INSERT INTO billing_meters (subscription, meter, sealed_to)
VALUES ($1, $2, $3)
ON CONFLICT (subscription, meter) DO UPDATE
SET sealed_to = excluded.sealed_to
WHERE excluded.sealed_to > billing_meters.sealed_to;

-- name: UsageIdentity :one
SELECT content, event
FROM usage_identities
WHERE ident = $1;

-- name: ClaimUsage :execrows
-- Zero rows: somebody else has the identity.
INSERT INTO usage_identities (ident, content, event)
VALUES ($1, $2, $3)
ON CONFLICT (ident) DO NOTHING;

-- name: SettleUsage :execrows
-- Out of quarantine, once.
UPDATE usage_identities
SET event = $2
WHERE ident = $1
  AND event = '';

-- name: AddUsage :exec
INSERT INTO usage_events (id, ident, source, source_id, subscription, meter, period, hour, used_at, received_at, quantity, counted, seconds, corrects, plan)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: UsageByIdent :one
-- The event an identity stands for: a retry under a new id stands for the one that counted its operation.
SELECT e.id, e.ident, e.source, e.source_id, e.subscription, e.meter, e.period, e.hour, e.used_at, e.received_at, e.quantity, e.counted, e.seconds, e.corrects, e.superseded, e.plan
FROM usage_identities i
JOIN usage_events e ON e.id = i.event
WHERE i.ident = $1;

-- name: UsageOperation :one
SELECT said, event
FROM usage_operations
WHERE operation = $1;

-- name: ClaimOperation :execrows
-- Zero rows: somebody else has it.
INSERT INTO usage_operations (operation, said, event)
VALUES ($1, $2, $3)
ON CONFLICT (operation) DO NOTHING;

-- name: DeleteExpiredCalls :exec
DELETE FROM usage_calls
WHERE expires_at <= $1;

-- name: LockCall :one
-- Keeps a call, or finds the one with its key; either way the row is locked until the transaction ends.
INSERT INTO usage_calls (owner, key, payload, lease, until, expires_at, outcomes)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (owner, key) DO UPDATE
SET version = usage_calls.version + 1
RETURNING payload, lease, until, answered, outcomes;

-- name: LeaseCall :execrows
-- Zero rows: somebody else took it over, or answered it.
UPDATE usage_calls
SET lease = $4,
    until = $5
WHERE owner = $1
  AND key = $2
  AND lease = $3
  AND answered = 0;

-- name: AnswerCall :execrows
UPDATE usage_calls
SET answered = 1,
    outcomes = $4
WHERE owner = $1
  AND key = $2
  AND lease = $3
  AND answered = 0;

-- name: SupersedeUsage :execrows
UPDATE usage_events
SET superseded = 1
WHERE id = $1
  AND superseded = 0;

-- name: UsagePeak :one
-- The highest live quantity of a period, 0 when there is none.
SELECT CAST(COALESCE(MAX(quantity), 0) AS BIGINT) AS peak
FROM usage_events
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND superseded = 0;

-- name: UsageSeen :one
-- Whether somebody was counted in a period.
SELECT CAST(COUNT(*) AS BIGINT) AS seen
FROM (
    SELECT id
    FROM usage_events
    WHERE subscription = $1
      AND meter = $2
      AND period = $3
      AND superseded = 0
      AND counted = $4
      AND quantity > 0
    LIMIT 1
) AS live;

-- name: UsageUnitSeconds :one
SELECT CAST(COALESCE(SUM(quantity * seconds), 0) AS BIGINT) AS unit_seconds
FROM usage_events
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND superseded = 0;

-- name: UsageSum :one
SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT) AS total
FROM usage_events
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND superseded = 0;

-- name: UsageCounted :many
-- Everybody who was counted in a period.
SELECT DISTINCT counted
FROM usage_events
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND superseded = 0
  AND quantity > 0;

-- name: UsagePeriods :many
SELECT DISTINCT meter, period
FROM usage_events
WHERE subscription = $1
ORDER BY meter, period;

-- name: QuarantineUsage :exec
INSERT INTO usage_quarantine (ident, reason, target, subject, body, received_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (ident) DO UPDATE
SET reason = excluded.reason,
    target = excluded.target,
    subject = excluded.subject,
    body = excluded.body;

-- name: QuarantinedUsage :one
SELECT ident, reason, target, subject, body, received_at
FROM usage_quarantine
WHERE ident = $1;

-- name: WaitingCorrections :many
SELECT ident, reason, target, subject, body, received_at
FROM usage_quarantine
WHERE target = $1
ORDER BY received_at, ident;

-- name: ListQuarantined :many
SELECT ident, reason, target, subject, body, received_at
FROM usage_quarantine
ORDER BY received_at, ident
LIMIT $1;

-- name: ReleaseUsage :exec
DELETE FROM usage_quarantine
WHERE ident = $1;

-- name: AddEntry :exec
INSERT INTO ledger_entries (id, subscription, meter, period, hour, from_place, to_place, quantity, reason, record, event, at, plan)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: AddToBalance :execrows
UPDATE billing_balances
SET quantity = quantity + $6
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND plan = $4
  AND place = $5;

-- name: NewBalance :exec
INSERT INTO billing_balances (subscription, meter, period, plan, place, quantity)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: Balances :many
SELECT place, quantity
FROM billing_balances
WHERE subscription = $1
  AND meter = $2
  AND period = $3
  AND plan = $4;

-- name: AllBalances :many
SELECT subscription, meter, period, plan, place, quantity
FROM billing_balances
ORDER BY subscription, meter, period, plan, place;

-- name: EntrySums :many
-- How much went from where to where, over the whole ledger.
SELECT subscription, meter, period, plan, from_place, to_place, CAST(SUM(quantity) AS BIGINT) AS total
FROM ledger_entries
GROUP BY subscription, meter, period, plan, from_place, to_place
ORDER BY subscription, meter, period, plan, from_place, to_place;

-- name: OpenBuckets :many
-- Periods and plans in which something is open, or every one ($3 = 1).
SELECT DISTINCT period, plan
FROM billing_balances
WHERE subscription = $1
  AND meter = $2
  AND (CAST($3 AS BIGINT) = 1 OR (place = 'open' AND quantity <> 0))
ORDER BY period, plan;

-- name: AddHourUse :exec
INSERT INTO billing_hours (subscription, meter, period, hour, measured, corrected, allowance, per_hour, plan, since_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (subscription, meter, period, hour, plan) DO UPDATE
SET measured = billing_hours.measured + excluded.measured,
    corrected = billing_hours.corrected + excluded.corrected,
    allowance = excluded.allowance,
    per_hour = excluded.per_hour;

-- name: SetAllowance :exec
UPDATE billing_hours
SET allowance = $4,
    per_hour = $5
WHERE subscription = $1
  AND meter = $2
  AND hour = $3
  AND plan = $6
  AND (allowance <> $4 OR per_hour <> $5);

-- name: LineageUses :many
-- What a lineage used in a period before an hour ($4 = 0: all of it), in order of the hour used.
SELECT h.subscription, h.hour, h.measured, h.corrected, h.allowance, h.per_hour, h.plan
FROM billing_hours h
JOIN billing_accounts a ON a.subscription = h.subscription
WHERE a.lineage = $1
  AND h.meter = $2
  AND h.period = $3
  AND (CAST($4 AS BIGINT) = 0 OR h.hour < $4)
ORDER BY h.hour, h.since_at, h.subscription, h.plan;

-- name: ListHours :many
SELECT subscription, meter, period, hour, measured, corrected, allowance, per_hour, plan, since_at
FROM billing_hours
WHERE subscription = $1
ORDER BY hour DESC, meter, since_at
LIMIT $2;

-- name: SlotHolders :one
SELECT CAST(COUNT(*) AS BIGINT) AS holders
FROM records
WHERE (marketplace = $1 AND slot = $2)
   OR (subscription = $3 AND dimension = $4 AND hour = $5 AND part = $6);

-- name: FreezeRecord :exec
INSERT INTO records (id, slot, subscription, lineage, marketplace, product, meter, dimension, hour, part, from_at, to_at, quantity, scale, frozen, hash, final, state, placed, deadline, frozen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: AddAllocation :exec
INSERT INTO record_allocations (record, period, quantity, placed, plan)
VALUES ($1, $2, $3, $4, $5);

-- name: GetRecord :one
SELECT *
FROM records
WHERE id = $1;

-- name: RecordAllocations :many
SELECT record, period, quantity, placed, plan
FROM record_allocations
WHERE record = $1
ORDER BY period, plan;

-- name: RecordAttempts :many
SELECT id, record, n, call, begun_at, answer, quantity, receipt, detail, answered_at, wall_at
FROM attempts
WHERE record = $1
ORDER BY n;

-- name: AllocationsBetween :many
-- Allocations of records by range of ids, for pages of records.
SELECT record, period, quantity, placed, plan
FROM record_allocations
WHERE record >= $1
  AND record <= $2
ORDER BY record, period, plan;

-- name: AttemptsBetween :many
SELECT id, record, n, call, begun_at, answer, quantity, receipt, detail, answered_at, wall_at
FROM attempts
WHERE record >= $1
  AND record <= $2
ORDER BY record, n;

-- name: SaveRecord :execrows
-- Accepted and freed are final.
UPDATE records
SET state = $2,
    reason = $3,
    parked = $4,
    placed = $5,
    settled_at = $6
WHERE id = $1
  AND settled_at = 0;

-- name: SaveAllocation :exec
UPDATE record_allocations
SET placed = $3
WHERE record = $1
  AND period = $2
  AND plan = $4
  AND placed <> $3;

-- name: HastenRecords :exec
UPDATE records
SET deadline = $2
WHERE subscription = $1
  AND settled_at = 0
  AND deadline > $2;

-- name: RecordsInState :many
SELECT id
FROM records
WHERE subscription = $1
  AND state = $2
ORDER BY id;

-- name: Unsettled :one
-- Records of a subscription that wait for a call or its answer.
SELECT CAST(COUNT(*) AS BIGINT) AS waiting
FROM records
WHERE subscription = $1
  AND state IN ('queued', 'sent', 'unsure')
  AND parked = 0;

-- name: AddAttempt :exec
INSERT INTO attempts (id, record, n, call, begun_at, answer, quantity, receipt, detail, answered_at, wall_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: CountAttempt :exec
UPDATE records
SET attempts = attempts + 1
WHERE id = $1;

-- name: AnswerAttempt :execrows
-- An answer is stored once.
UPDATE attempts
SET answer = $2,
    quantity = $3,
    receipt = $4,
    detail = $5,
    answered_at = $6
WHERE id = $1
  AND answered_at = 0;

-- name: Sendable :many
-- What may be sent, nearest deadline first.
SELECT *
FROM records
WHERE marketplace = $1
  AND state IN ('queued', 'unsure')
  AND parked = 0
ORDER BY deadline, hour, id
LIMIT $2;

-- name: SentRecords :many
SELECT id
FROM records
WHERE marketplace = $1
  AND state = 'sent'
ORDER BY id
LIMIT $2;

-- name: StaleUnsure :many
SELECT id
FROM records
WHERE marketplace = $1
  AND state = 'unsure'
  AND parked = 0
  AND deadline < $2
ORDER BY id
LIMIT $3;

-- name: ListRecords :many
SELECT *
FROM records
WHERE subscription = $1
ORDER BY hour DESC, meter
LIMIT $2;

-- name: DoubtfulRecords :many
-- What may wait for a person; $1 = '': of every subscription.
SELECT *
FROM records
WHERE state IN ('held', 'unsure')
  AND (CAST($1 AS TEXT) = '' OR subscription = $1)
  AND id > $2
ORDER BY id
LIMIT $3;

-- name: RecordPage :many
SELECT *
FROM records
WHERE id > $1
ORDER BY id
LIMIT $2;

-- name: ListEntries :many
-- The story of an hour: what was used in it and what became of its record.
SELECT id, subscription, meter, period, hour, from_place, to_place, quantity, reason, record, event, at, plan
FROM ledger_entries
WHERE subscription = $1
  AND meter = $2
  AND hour = $3
ORDER BY id;

-- name: RaiseFinding :exec
-- The same cause is found once.
INSERT INTO findings (id, cause, class, subscription, meter, record, quantity, owner, detail, opened_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (class, cause) DO NOTHING;

-- name: CloseFinding :execrows
UPDATE findings
SET closed_by = $2,
    closed_why = $3,
    closed_at = $4
WHERE id = $1
  AND closed_at = 0;

-- name: CloseDoubts :exec
-- A ruling settles what was found because its record waits.
UPDATE findings
SET closed_by = $2,
    closed_why = $3,
    closed_at = $4
WHERE record = $1
  AND class IN ('held', 'unexplained_duplicate', 'unsure_past_window', 'unsure_not_repeated')
  AND closed_at = 0;

-- name: ListFindings :many
-- Newest first; $1 = 1: only open ones.
SELECT id, cause, class, subscription, meter, record, quantity, owner, detail, opened_at, closed_at, closed_by, closed_why
FROM findings
WHERE (CAST($1 AS BIGINT) = 0 OR closed_at = 0)
ORDER BY id DESC
LIMIT $2;

-- name: QuarantineAge :one
SELECT CAST(COUNT(*) AS BIGINT) AS waiting, CAST(COALESCE(MIN(received_at), 0) AS BIGINT) AS oldest
FROM usage_quarantine;

-- name: OpenAge :one
-- Meters with open units; the oldest hour that no seal has reached.
SELECT CAST(COUNT(*) AS BIGINT) AS waiting, CAST(COALESCE(MIN(m.sealed_to), 0) AS BIGINT) AS oldest
FROM billing_meters m
JOIN billing_accounts a ON a.subscription = m.subscription
WHERE a.final_at = 0
  AND EXISTS (
      SELECT 1
      FROM billing_balances b
      WHERE b.subscription = m.subscription
        AND b.meter = m.meter
        AND b.place = 'open'
        AND b.quantity <> 0
  );

-- name: RecordAges :many
SELECT state, CAST(COUNT(*) AS BIGINT) AS waiting, CAST(COALESCE(MIN(frozen_at), 0) AS BIGINT) AS oldest
FROM records
WHERE state IN ('queued', 'sent', 'unsure')
GROUP BY state;

-- name: SubjectOfTailnet :many
-- Whose usage a tailnet's is, newest first: a successor's from its first hour on.
SELECT subscription, since_at
FROM tailnet_uses
WHERE tailnet = $1
ORDER BY since_at DESC, subscription DESC;

-- name: SubscriptionExists :one
SELECT CAST(COUNT(*) AS BIGINT) AS found
FROM subscriptions
WHERE id = $1;

-- name: AllocationsOf :many
SELECT a.record, a.period, a.quantity, a.placed, a.plan
FROM record_allocations a
JOIN records r ON r.id = a.record
WHERE r.subscription = $1
ORDER BY a.record, a.period, a.plan;

-- name: AttemptsOf :many
SELECT a.id, a.record, a.n, a.call, a.begun_at, a.answer, a.quantity, a.receipt, a.detail, a.answered_at, a.wall_at
FROM attempts a
JOIN records r ON r.id = a.record
WHERE r.subscription = $1
ORDER BY a.record, a.n;
