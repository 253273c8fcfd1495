-- Units are kept apart by the plan under which they were used: a plan may change inside an hour,
-- and its units have a price, a dimension and slots of their own. '': before plans were kept.
-- +goose Up
ALTER TABLE usage_events ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE ledger_entries ADD COLUMN plan TEXT NOT NULL DEFAULT '';
CREATE TABLE billing_hours_new (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    hour         INTEGER NOT NULL,
    measured     INTEGER NOT NULL,            -- rises of the meter function by usage of this hour
    corrected    INTEGER NOT NULL,            -- its falls
    allowance    INTEGER NOT NULL,            -- included by this hour's own terms, for the period
    per_hour     INTEGER NOT NULL,            -- 1: the allowance is this hour's alone
    plan         TEXT   NOT NULL DEFAULT '',
    since_at     INTEGER NOT NULL DEFAULT 0,  -- when the plan began inside the hour: included units are consumed in this order
    CONSTRAINT billing_hours_pk PRIMARY KEY (subscription, meter, period, hour, plan),
    CONSTRAINT billing_hours_check CHECK (measured >= 0 AND corrected >= 0 AND allowance >= 0 AND per_hour IN (0, 1))
) STRICT;
INSERT INTO billing_hours_new (subscription, meter, period, hour, measured, corrected, allowance, per_hour) SELECT subscription, meter, period, hour, measured, corrected, allowance, per_hour FROM billing_hours;
DROP TABLE billing_hours;
ALTER TABLE billing_hours_new RENAME TO billing_hours;
CREATE TABLE billing_balances_new (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    place        TEXT   NOT NULL,
    quantity     INTEGER NOT NULL,            -- the sum of the entries; can be rebuilt from them
    plan         TEXT   NOT NULL DEFAULT '',
    CONSTRAINT billing_balances_pk PRIMARY KEY (subscription, meter, period, plan, place),
    -- conservation: only open is signed
    CONSTRAINT billing_balances_sign_check CHECK (quantity >= 0 OR place = 'open')
) STRICT;
INSERT INTO billing_balances_new (subscription, meter, period, place, quantity) SELECT subscription, meter, period, place, quantity FROM billing_balances;
DROP TABLE billing_balances;
ALTER TABLE billing_balances_new RENAME TO billing_balances;
CREATE TABLE record_allocations_new (
    record   TEXT   NOT NULL,
    period   TEXT   NOT NULL,
    quantity INTEGER NOT NULL,                -- frozen
    placed   INTEGER NOT NULL,                -- what it stands for now
    plan     TEXT   NOT NULL DEFAULT '',
    CONSTRAINT record_allocations_pk PRIMARY KEY (record, period, plan),
    CONSTRAINT record_allocations_check CHECK (quantity >= 0 AND placed >= 0),
    CONSTRAINT record_allocations_record_fk FOREIGN KEY (record) REFERENCES records (id)
) STRICT;
INSERT INTO record_allocations_new (record, period, quantity, placed) SELECT record, period, quantity, placed FROM record_allocations;
DROP TABLE record_allocations;
ALTER TABLE record_allocations_new RENAME TO record_allocations;
-- +goose Down
CREATE TABLE record_allocations_old (
    record   TEXT   NOT NULL,
    period   TEXT   NOT NULL,
    quantity INTEGER NOT NULL,                -- frozen
    placed   INTEGER NOT NULL,                -- what it stands for now
    CONSTRAINT record_allocations_pk PRIMARY KEY (record, period),
    CONSTRAINT record_allocations_check CHECK (quantity >= 0 AND placed >= 0),
    CONSTRAINT record_allocations_record_fk FOREIGN KEY (record) REFERENCES records (id)
) STRICT;
INSERT INTO record_allocations_old (record, period, quantity, placed) SELECT record, period, quantity, placed FROM record_allocations;
DROP TABLE record_allocations;
ALTER TABLE record_allocations_old RENAME TO record_allocations;
CREATE TABLE billing_balances_old (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    place        TEXT   NOT NULL,
    quantity     INTEGER NOT NULL,            -- the sum of the entries; can be rebuilt from them
    CONSTRAINT billing_balances_pk PRIMARY KEY (subscription, meter, period, place),
    -- conservation: only open is signed
    CONSTRAINT billing_balances_sign_check CHECK (quantity >= 0 OR place = 'open')
) STRICT;
INSERT INTO billing_balances_old (subscription, meter, period, place, quantity) SELECT subscription, meter, period, place, quantity FROM billing_balances;
DROP TABLE billing_balances;
ALTER TABLE billing_balances_old RENAME TO billing_balances;
CREATE TABLE billing_hours_old (
    subscription TEXT   NOT NULL,
    meter        TEXT   NOT NULL,
    period       TEXT   NOT NULL,
    hour         INTEGER NOT NULL,
    measured     INTEGER NOT NULL,            -- rises of the meter function by usage of this hour
    corrected    INTEGER NOT NULL,            -- its falls
    allowance    INTEGER NOT NULL,            -- included by this hour's own terms, for the period
    per_hour     INTEGER NOT NULL,            -- 1: the allowance is this hour's alone
    CONSTRAINT billing_hours_pk PRIMARY KEY (subscription, meter, period, hour),
    CONSTRAINT billing_hours_check CHECK (measured >= 0 AND corrected >= 0 AND allowance >= 0 AND per_hour IN (0, 1))
) STRICT;
INSERT INTO billing_hours_old (subscription, meter, period, hour, measured, corrected, allowance, per_hour) SELECT subscription, meter, period, hour, measured, corrected, allowance, per_hour FROM billing_hours;
DROP TABLE billing_hours;
ALTER TABLE billing_hours_old RENAME TO billing_hours;
ALTER TABLE ledger_entries DROP COLUMN plan;
ALTER TABLE usage_events DROP COLUMN plan;
