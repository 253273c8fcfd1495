-- Keys of producers: each may send usage of its own sources.
-- +goose Up
CREATE TABLE api_keys (
    id           TEXT NOT NULL,
    token_hash   BLOB NOT NULL,               -- SHA-256 of the key; the key itself is nowhere
    name         TEXT NOT NULL,
    sources      TEXT NOT NULL,                -- JSON list
    created_at   INTEGER NOT NULL,              -- wall time, as all times of this table
    created_by   TEXT NOT NULL,
    last_used_at INTEGER NOT NULL DEFAULT 0,    -- to the minute
    revoked_at   INTEGER NOT NULL DEFAULT 0,
    revoked_by   TEXT NOT NULL DEFAULT '',
    CONSTRAINT api_keys_pk PRIMARY KEY (id),
    CONSTRAINT api_keys_token_unique UNIQUE (token_hash),
    -- who ends a key is known
    CONSTRAINT api_keys_revoked_check CHECK ((revoked_at = 0) = (revoked_by = ''))
) STRICT;
-- +goose Down
DROP TABLE api_keys;
