-- Who is signed in, one-time links, and mail that waits to leave (identity, notify).
-- +goose Up
CREATE TABLE sessions (
    token_hash BYTEA  NOT NULL,              -- SHA-256 of the cookie's value; the value itself is nowhere
    kind       TEXT   NOT NULL,
    actor      TEXT   NOT NULL,              -- who it is in the audit trail: a claim, or the operator
    subject    TEXT   NOT NULL,              -- what it opens: a subscription; empty for operators
    created_at BIGINT NOT NULL,              -- wall time, as all times of this table
    expires_at BIGINT NOT NULL,
    -- one token is one session
    CONSTRAINT sessions_pk PRIMARY KEY (token_hash),
    CONSTRAINT sessions_kind_check CHECK (kind IN ('buyer', 'operator')),
    -- a buyer's session opens exactly one purchase
    CONSTRAINT sessions_subject_check CHECK ((kind = 'buyer') = (subject <> '')),
    CONSTRAINT sessions_life_check CHECK (expires_at > created_at)
);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE operator_links (
    token_hash BYTEA  NOT NULL,              -- SHA-256 of the link's token
    created_at BIGINT NOT NULL,              -- wall time, as all times of this table
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL DEFAULT 0,    -- a link opens one session, ever
    CONSTRAINT operator_links_pk PRIMARY KEY (token_hash),
    CONSTRAINT operator_links_life_check CHECK (expires_at > created_at)
);

CREATE TABLE mails (
    id         TEXT   NOT NULL,
    purpose    TEXT   NOT NULL,              -- why it was written: verify, network_admin
    about      TEXT   NOT NULL DEFAULT '',   -- the claim or subscription it belongs to
    sealed     BYTEA  NOT NULL,              -- address, subject and text, encrypted
    state      TEXT   NOT NULL DEFAULT 'queued',
    queued_at  BIGINT NOT NULL,              -- business time
    settled_at BIGINT NOT NULL DEFAULT 0,    -- business time: sent, held or refused
    note       TEXT   NOT NULL DEFAULT '',   -- why it is not sent; never an address
    CONSTRAINT mails_pk PRIMARY KEY (id),
    -- held: no mail server is set, the operator's outbox page shows it
    CONSTRAINT mails_state_check CHECK (state IN ('queued', 'sent', 'held', 'refused')),
    -- a mail that is not waiting was settled at some time
    CONSTRAINT mails_settled_check CHECK ((state = 'queued') = (settled_at = 0))
);
-- +goose Down
DROP TABLE mails;
DROP TABLE operator_links;
DROP TABLE sessions;
