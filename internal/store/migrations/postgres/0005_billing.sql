-- From use to bill: usage events, the ledger, frozen records, attempts, findings.
-- +goose Up
CREATE TABLE usage_identities (
    ident    BYTEA  NOT NULL,                -- SHA-256 over source and id
    content  BYTEA  NOT NULL,                -- SHA-256 over what the event says
    event    TEXT   NOT NULL,                -- '' while it is in quarantine
    -- exactly once: one identity is one fact of use, however often it is sent
    CONSTRAINT usage_identities_pk PRIMARY KEY (ident)
);

CREATE TABLE usage_events (
    id           TEXT   NOT NULL,
    ident        BYTEA  NOT NULL,
    source       TEXT   NOT NULL,
    source_id    TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,            -- start of the counting period it was used in, RFC 3339
    hour         BIGINT NOT NULL,
    used_at      BIGINT NOT NULL,
    received_at  BIGINT NOT NULL,
    quantity     BIGINT NOT NULL,            -- in the meter's smallest unit
    counted      TEXT   NOT NULL,            -- who or what was counted
    seconds      BIGINT NOT NULL,            -- time covered, for unit_hours
    corrects     TEXT   NOT NULL DEFAULT '', -- the event it replaces
    superseded   BIGINT NOT NULL DEFAULT 0,  -- 1: a correction stands in its place
    CONSTRAINT usage_events_pk PRIMARY KEY (id),
    CONSTRAINT usage_events_ident_unique UNIQUE (ident),
    CONSTRAINT usage_events_quantity_check CHECK (quantity >= 0),
    CONSTRAINT usage_events_seconds_check CHECK (seconds >= 0),
    CONSTRAINT usage_events_superseded_check CHECK (superseded IN (0, 1))
);
-- a second correction of one target is a conflict
CREATE UNIQUE INDEX usage_events_corrects_unique ON usage_events (corrects) WHERE corrects <> '';
CREATE INDEX usage_events_unique ON usage_events (subscription, meter, period, superseded, counted, quantity);
CREATE INDEX usage_events_peak ON usage_events (subscription, meter, period, superseded, quantity);

CREATE TABLE usage_quarantine (
    ident       BYTEA  NOT NULL,
    reason      TEXT   NOT NULL,
    target      BYTEA  NOT NULL,             -- identity of the event a correction waits for; empty otherwise
    subject     TEXT   NOT NULL,
    body        TEXT   NOT NULL,             -- JSON of the event in normal form
    received_at BIGINT NOT NULL,
    CONSTRAINT usage_quarantine_pk PRIMARY KEY (ident)
);
CREATE INDEX usage_quarantine_target ON usage_quarantine (target);
CREATE INDEX usage_quarantine_age ON usage_quarantine (received_at);

CREATE TABLE billing_accounts (
    subscription TEXT   NOT NULL,
    lineage      TEXT   NOT NULL,
    marketplace  TEXT   NOT NULL,
    product      TEXT   NOT NULL,
    covered_to   BIGINT NOT NULL DEFAULT 0,  -- collected meters are known up to here
    final_at     BIGINT NOT NULL DEFAULT 0,  -- when the final seal was made
    CONSTRAINT billing_accounts_pk PRIMARY KEY (subscription)
);
CREATE INDEX billing_accounts_lineage ON billing_accounts (lineage);

CREATE TABLE billing_scopes (
    lineage TEXT   NOT NULL,
    meter   TEXT   NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,       -- raised to lock the row: seals, ingests and answers of one scope take turns
    CONSTRAINT billing_scopes_pk PRIMARY KEY (lineage, meter)
);

CREATE TABLE billing_meters (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    sealed_to    BIGINT NOT NULL,            -- every hour before this one is sealed
    CONSTRAINT billing_meters_pk PRIMARY KEY (subscription, meter)
);

CREATE TABLE billing_hours (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    hour         BIGINT NOT NULL,
    measured     BIGINT NOT NULL,            -- rises of the meter function by usage of this hour
    corrected    BIGINT NOT NULL,            -- its falls
    allowance    BIGINT NOT NULL,            -- included by this hour's own terms, for the period
    per_hour     BIGINT NOT NULL,            -- 1: the allowance is this hour's alone
    CONSTRAINT billing_hours_pk PRIMARY KEY (subscription, meter, period, hour),
    CONSTRAINT billing_hours_check CHECK (measured >= 0 AND corrected >= 0 AND allowance >= 0 AND per_hour IN (0, 1))
);

CREATE TABLE ledger_entries (
    id           TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    hour         BIGINT NOT NULL,
    from_place   TEXT   NOT NULL,
    to_place     TEXT   NOT NULL,
    quantity     BIGINT NOT NULL,
    reason       TEXT   NOT NULL,
    record       TEXT   NOT NULL,
    event        TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    CONSTRAINT ledger_entries_pk PRIMARY KEY (id),
    -- the direction says rise or fall, never the sign
    CONSTRAINT ledger_entries_quantity_check CHECK (quantity >= 0),
    CONSTRAINT ledger_entries_places_check CHECK (
        from_place IN ('measured', 'credit_left', 'open', 'carried', 'held', 'queued', 'sent', 'unsure', 'accepted', 'included', 'written_off')
        AND to_place IN ('corrected', 'credit_left', 'open', 'carried', 'held', 'queued', 'sent', 'unsure', 'accepted', 'included', 'written_off'))
);
CREATE INDEX ledger_entries_story ON ledger_entries (subscription, meter, hour, id);

CREATE TABLE billing_balances (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    place        TEXT   NOT NULL,
    quantity     BIGINT NOT NULL,            -- the sum of the entries; can be rebuilt from them
    CONSTRAINT billing_balances_pk PRIMARY KEY (subscription, meter, period, place),
    -- conservation: only open is signed
    CONSTRAINT billing_balances_sign_check CHECK (quantity >= 0 OR place = 'open')
);

CREATE TABLE records (
    id           TEXT   NOT NULL,
    slot         TEXT   NOT NULL,            -- the vendor's de-duplication key
    subscription TEXT   NOT NULL,
    lineage      TEXT   NOT NULL,
    marketplace  TEXT   NOT NULL,
    product      TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    dimension    TEXT   NOT NULL,
    hour         BIGINT NOT NULL,
    part         BIGINT NOT NULL,
    from_at      BIGINT NOT NULL,
    to_at        BIGINT NOT NULL,
    quantity     BIGINT NOT NULL,            -- frozen, in the meter's smallest unit
    scale        BIGINT NOT NULL,
    frozen       TEXT   NOT NULL,            -- JSON of all that Submit sends and of the terms it stands on
    hash         BYTEA  NOT NULL,            -- SHA-256 over frozen
    final        BIGINT NOT NULL,
    state        TEXT   NOT NULL,
    reason       TEXT   NOT NULL DEFAULT '', -- why held or freed
    parked       BIGINT NOT NULL DEFAULT 0,  -- 1: unsure, and sending again would not help
    placed       BIGINT NOT NULL,            -- what it stands for now: frozen, accepted, or 0 when freed
    attempts     BIGINT NOT NULL DEFAULT 0,
    deadline     BIGINT NOT NULL,            -- the last instant the vendor may take it
    frozen_at    BIGINT NOT NULL,
    settled_at   BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT records_pk PRIMARY KEY (id),
    -- exactly once: a vendor slot is written by one frozen record for ever
    CONSTRAINT records_slot_unique UNIQUE (marketplace, slot),
    CONSTRAINT records_hour_unique UNIQUE (subscription, dimension, hour, part),
    CONSTRAINT records_state_check CHECK (state IN ('queued', 'sent', 'unsure', 'accepted', 'held', 'freed')),
    -- accepted and freed are final
    CONSTRAINT records_settled_check CHECK ((state IN ('accepted', 'freed')) = (settled_at > 0)),
    CONSTRAINT records_parked_check CHECK (parked = 0 OR (parked = 1 AND state = 'unsure')),
    CONSTRAINT records_quantity_check CHECK (quantity >= 0 AND placed >= 0 AND (state <> 'freed' OR placed = 0)),
    CONSTRAINT records_part_check CHECK (part >= 0),
    CONSTRAINT records_final_check CHECK (final IN (0, 1))
);
CREATE INDEX records_send ON records (marketplace, state, deadline);
CREATE INDEX records_subscription ON records (subscription, hour);

CREATE TABLE record_allocations (
    record   TEXT   NOT NULL,
    period   TEXT   NOT NULL,
    quantity BIGINT NOT NULL,                -- frozen
    placed   BIGINT NOT NULL,                -- what it stands for now
    CONSTRAINT record_allocations_pk PRIMARY KEY (record, period),
    CONSTRAINT record_allocations_check CHECK (quantity >= 0 AND placed >= 0),
    CONSTRAINT record_allocations_record_fk FOREIGN KEY (record) REFERENCES records (id)
);

CREATE TABLE attempts (
    id          TEXT   NOT NULL,
    record      TEXT   NOT NULL,
    n           BIGINT NOT NULL,             -- 1, 2, … of its record
    call        TEXT   NOT NULL,             -- attempts of one call share it
    begun_at    BIGINT NOT NULL,             -- business time
    answer      TEXT   NOT NULL DEFAULT '',  -- '' until an answer is known
    quantity    BIGINT NOT NULL DEFAULT -1,  -- what the vendor holds, -1 when it did not say
    receipt     TEXT   NOT NULL DEFAULT '',  -- the vendor's id of the stored record
    detail      TEXT   NOT NULL DEFAULT '',  -- the vendor's word, or the operator and the reason
    answered_at BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT attempts_pk PRIMARY KEY (id),
    CONSTRAINT attempts_record_n_unique UNIQUE (record, n),
    CONSTRAINT attempts_record_fk FOREIGN KEY (record) REFERENCES records (id),
    CONSTRAINT attempts_answer_check CHECK (answer IN ('', 'unsure', 'not_sent', 'call_refused', 'throttled', 'refused_alone', 'accepted', 'duplicate',
        'unprocessed', 'not_subscribed', 'invalid', 'expired', 'suspended', 'failed', 'missing', 'released', 'ruled_accepted', 'ruled_unrecorded')),
    -- an answer has a time
    CONSTRAINT attempts_answered_check CHECK ((answer = '') = (answered_at = 0))
);

CREATE TABLE findings (
    id           TEXT   NOT NULL,
    cause        TEXT   NOT NULL,            -- what it is about, in one line
    class        TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    record       TEXT   NOT NULL,
    quantity     TEXT   NOT NULL,            -- decimal text: what it is worth, in the meter's unit
    owner        TEXT   NOT NULL,            -- who must look: finance, operator
    detail       TEXT   NOT NULL,
    opened_at    BIGINT NOT NULL,
    closed_at    BIGINT NOT NULL DEFAULT 0,
    closed_by    TEXT   NOT NULL DEFAULT '',
    closed_why   TEXT   NOT NULL DEFAULT '',
    CONSTRAINT findings_pk PRIMARY KEY (id),
    -- the same cause is found once, however often it is met
    CONSTRAINT findings_cause_unique UNIQUE (class, cause),
    -- who closes a finding says why
    CONSTRAINT findings_closed_check CHECK ((closed_at = 0) = (closed_by = '') AND (closed_at = 0) = (closed_why = ''))
);
CREATE INDEX findings_open ON findings (closed_at, id);
-- +goose Down
DROP TABLE findings;
DROP TABLE attempts;
DROP TABLE record_allocations;
DROP TABLE records;
DROP TABLE billing_balances;
DROP TABLE ledger_entries;
DROP TABLE billing_hours;
DROP TABLE billing_meters;
DROP TABLE billing_scopes;
DROP TABLE billing_accounts;
DROP TABLE usage_quarantine;
DROP TABLE usage_events;
DROP TABLE usage_identities;
