-- name: AddMail :exec
INSERT INTO mails (id, purpose, about, sealed, queued_at)
VALUES ($1, $2, $3, $4, $5);

-- name: GetMail :one
SELECT id, purpose, about, sealed, state, queued_at, settled_at, note
FROM mails
WHERE id = $1;

-- name: SettleMail :execrows
-- Zero rows means another run settled it before.
UPDATE mails
SET state = $2,
    settled_at = $3,
    note = $4
WHERE id = $1
  AND state = 'queued';

-- name: ListMails :many
-- Newest first; ids sort by the time they were made. The cursor "n" is behind every id.
SELECT id, purpose, about, sealed, state, queued_at, settled_at, note
FROM mails
WHERE id < $1
ORDER BY id DESC
LIMIT $2;
