-- Keys of producers: each may send usage of its own sources.
-- +goose Up
CREATE TABLE api_keys (
    id           TEXT NOT NULL,
    token_hash   BYTEA NOT NULL,               -- SHA-256 of the key; the key itself is nowhere
    name         TEXT NOT NULL,
    sources      TEXT NOT NULL,                -- JSON list
    created_at   BIGINT NOT NULL,              -- wall time, as all times of this table
    created_by   TEXT NOT NULL,
    last_used_at BIGINT NOT NULL DEFAULT 0,    -- to the minute
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    revoked_by   TEXT NOT NULL DEFAULT '',
    CONSTRAINT api_keys_pk PRIMARY KEY (id),
    CONSTRAINT api_keys_token_unique UNIQUE (token_hash),
    -- who ends a key is known
    CONSTRAINT api_keys_revoked_check CHECK ((revoked_at = 0) = (revoked_by = ''))
);
-- +goose Down
DROP TABLE api_keys;
