-- name: MarkDue :exec
-- Marks work. A row that exists is due at the earlier of both times, starts again
-- if it was stopped, and has a new generation, so that a run in progress is not the last.
INSERT INTO due (kind, subject, due_at)
VALUES ($1, $2, $3)
ON CONFLICT (kind, subject) DO UPDATE
SET due_at = CASE WHEN excluded.due_at < due.due_at THEN excluded.due_at ELSE due.due_at END,
    generation = due.generation + 1,
    stopped = 0;

-- name: LeaseDue :execrows
-- Takes a row that nobody holds; zero rows means someone else was faster.
UPDATE due
SET lease_owner = $3,
    lease_until = $4
WHERE kind = $1
  AND subject = $2
  AND lease_until <= $5;

-- name: RenewDue :execrows
UPDATE due
SET lease_until = $4
WHERE kind = $1
  AND subject = $2
  AND lease_owner = $3;

-- name: FinishDue :execrows
-- Deletes finished work unless it was marked again meanwhile.
DELETE FROM due
WHERE kind = $1
  AND subject = $2
  AND lease_owner = $3
  AND generation = $4;

-- name: RescheduleDue :execrows
-- Finished for now, due again later, unless it was marked again meanwhile.
UPDATE due
SET due_at = $5,
    lease_owner = '',
    lease_until = 0,
    attempts = 0,
    not_before = 0,
    last_class = '',
    last_error = ''
WHERE kind = $1
  AND subject = $2
  AND lease_owner = $3
  AND generation = $4;

-- name: ReleaseDue :execrows
-- Hands a row back: marked again while it ran, or to be tried again. It stops
-- only when nobody marked it meanwhile: $8 is the generation that must stop, or 0.
UPDATE due
SET lease_owner = '',
    lease_until = 0,
    attempts = $4,
    not_before = $5,
    last_class = $6,
    last_error = $7,
    stopped = CASE WHEN generation = $8 THEN 1 ELSE 0 END
WHERE kind = $1
  AND subject = $2
  AND lease_owner = $3;

-- name: FreeLeases :execrows
-- Every lease held by others is void: on SQLite one process has the file, so a
-- starting process knows that its predecessor is dead.
UPDATE due
SET lease_owner = '',
    lease_until = 0
WHERE lease_owner <> ''
  AND lease_owner <> $1;

-- name: CountDue :one
-- How much must happen at or before this business time: the clock waits for it.
SELECT COUNT(*)
FROM due
WHERE stopped = 0
  AND due_at <= $1;

-- name: ListDue :many
-- What is stuck or waiting, for the operator: stopped and failing rows first.
SELECT kind, subject, due_at, not_before, generation, lease_owner, lease_until, attempts, last_class, last_error, stopped
FROM due
WHERE stopped = 1
   OR attempts >= $1
ORDER BY stopped DESC, attempts DESC, kind, subject
LIMIT $2;

-- name: DueAges :many
-- The age of the oldest waiting row of each kind, for metrics.
SELECT kind, COUNT(*) AS waiting, CAST(MIN(due_at) AS BIGINT) AS oldest
FROM due
WHERE stopped = 0
  AND due_at <= $1
GROUP BY kind;
