-- What came in from outside: deliveries as they arrived, and how far the sweep has come.
-- +goose Up
CREATE TABLE customer_keys (
    customer   TEXT   NOT NULL,
    wrapped    BLOB   NOT NULL,              -- the customer's key under the instance key; destroying this row makes all its bodies unreadable
    created_at INTEGER NOT NULL,
    -- one key a customer: two would make half of the bodies survive an erasure
    CONSTRAINT customer_keys_pk PRIMARY KEY (customer)
) STRICT;

CREATE TABLE deliveries (
    id          TEXT   NOT NULL,
    marketplace TEXT   NOT NULL,
    vendor_id   TEXT   NOT NULL,             -- the vendor's own id of the message
    variant     TEXT   NOT NULL DEFAULT '',  -- '' for the first body under this id, else the body's hash: a conflict
    body_hash   TEXT   NOT NULL,             -- SHA-256 in hexadecimal
    channel     TEXT   NOT NULL,
    kind        TEXT   NOT NULL,             -- the vendor's word
    source      TEXT   NOT NULL,
    signed      INTEGER NOT NULL,
    sent_at     INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    body        BLOB   NOT NULL,             -- encrypted with a key of its own
    body_key    BLOB   NOT NULL,             -- that key, wrapped
    customer    TEXT   NOT NULL DEFAULT '',  -- whose key wraps body_key; '' is the instance key
    copies      INTEGER NOT NULL DEFAULT 0,   -- how often the same message came again
    state       TEXT   NOT NULL,
    reason      TEXT   NOT NULL DEFAULT '',  -- why it waits and who must act; never a part of the body
    settled_at  INTEGER NOT NULL DEFAULT 0,
    settled_by  TEXT   NOT NULL DEFAULT '',  -- who replayed it out of quarantine
    CONSTRAINT deliveries_pk PRIMARY KEY (id),
    -- de-duplication: one message is applied once; other bodies under its id are kept beside it
    CONSTRAINT deliveries_message_unique UNIQUE (marketplace, vendor_id, variant),
    -- conflict: another body under a known id; nothing of it is believed
    CONSTRAINT deliveries_state_check CHECK (state IN ('applied', 'quarantined', 'conflict', 'replayed')),
    -- what is quarantined or in conflict says why
    CONSTRAINT deliveries_reason_check CHECK (state IN ('applied', 'replayed') OR reason <> ''),
    -- only the first body under an id can be applied
    CONSTRAINT deliveries_variant_check CHECK ((state = 'conflict') = (variant <> '')),
    CONSTRAINT deliveries_signed_check CHECK (signed IN (0, 1))
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (state, id);

CREATE TABLE sweeps (
    marketplace TEXT   NOT NULL,
    cursor_at   INTEGER NOT NULL DEFAULT 0,   -- business time at which the last sweep that ended well began
    full_at     INTEGER NOT NULL DEFAULT 0,   -- the same of the last sweep that asked for everything
    CONSTRAINT sweeps_pk PRIMARY KEY (marketplace)
) STRICT;
-- +goose Down
DROP TABLE sweeps;
DROP TABLE deliveries;
DROP TABLE customer_keys;
