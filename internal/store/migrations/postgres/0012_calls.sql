-- What was answered to a request with an Idempotency-Key, for as long as it may be repeated.
-- +goose Up
CREATE TABLE usage_calls (
    owner      TEXT NOT NULL,                  -- who sent it: keys of two senders never meet
    key        TEXT NOT NULL,
    payload    BYTEA NOT NULL,                  -- SHA-256 over what was sent
    lease      TEXT NOT NULL,                  -- who is working on it
    until      BIGINT NOT NULL,                 -- the lease; wall time, as all times of this table
    expires_at BIGINT NOT NULL,
    answered   BIGINT NOT NULL DEFAULT 0,
    outcomes   BYTEA NOT NULL,                  -- compressed JSON, empty before the answer
    version    BIGINT NOT NULL DEFAULT 0,       -- raised to lock the row
    CONSTRAINT usage_calls_pk PRIMARY KEY (owner, key),
    CONSTRAINT usage_calls_answered_check CHECK (answered IN (0, 1))
);
CREATE INDEX usage_calls_expiry ON usage_calls (expires_at);
-- +goose Down
DROP TABLE usage_calls;
