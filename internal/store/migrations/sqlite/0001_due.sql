-- What must happen: due rows, one mechanism for all work (docs/adr/0002).
-- +goose Up
CREATE TABLE due (
    kind        TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    due_at      INTEGER NOT NULL,             -- business time
    not_before  INTEGER NOT NULL DEFAULT 0,   -- wall time: back-off
    generation  INTEGER NOT NULL DEFAULT 1,   -- raised by every mark: work that is marked while it runs runs again
    lease_owner TEXT   NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,   -- wall time
    attempts    INTEGER NOT NULL DEFAULT 0,   -- since the last success
    last_class  TEXT   NOT NULL DEFAULT '',
    last_error  TEXT   NOT NULL DEFAULT '',  -- text that may be shown; never a body or a secret
    stopped     INTEGER NOT NULL DEFAULT 0,   -- 1: a person must act; marking it again starts it
    CONSTRAINT due_pk PRIMARY KEY (kind, subject),
    CONSTRAINT due_kind_check CHECK (kind IN ('refresh','decide','provision','close','seal','submit','attribute','sweep','collect','notify','export')),
    CONSTRAINT due_stopped_check CHECK (stopped IN (0, 1)),
    -- a lease has an owner and an end, or neither
    CONSTRAINT due_lease_check CHECK ((lease_owner = '') = (lease_until = 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX due_next ON due (stopped, due_at);
-- +goose Down
DROP TABLE due;
