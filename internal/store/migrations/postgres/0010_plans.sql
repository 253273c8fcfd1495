-- Units are kept apart by the plan under which they were used: a plan may change inside an hour,
-- and its units have a price, a dimension and slots of their own. '': before plans were kept.
-- +goose Up
ALTER TABLE usage_events ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE ledger_entries ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE billing_hours ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE billing_hours ADD COLUMN since_at BIGINT NOT NULL DEFAULT 0; -- when the plan began inside the hour: included units are consumed in this order
ALTER TABLE billing_hours DROP CONSTRAINT billing_hours_pk;
ALTER TABLE billing_hours ADD CONSTRAINT billing_hours_pk PRIMARY KEY (subscription, meter, period, hour, plan);
ALTER TABLE billing_balances ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE billing_balances DROP CONSTRAINT billing_balances_pk;
ALTER TABLE billing_balances ADD CONSTRAINT billing_balances_pk PRIMARY KEY (subscription, meter, period, plan, place);
ALTER TABLE record_allocations ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE record_allocations DROP CONSTRAINT record_allocations_pk;
ALTER TABLE record_allocations ADD CONSTRAINT record_allocations_pk PRIMARY KEY (record, period, plan);
-- +goose Down
ALTER TABLE record_allocations DROP CONSTRAINT record_allocations_pk;
ALTER TABLE record_allocations ADD CONSTRAINT record_allocations_pk PRIMARY KEY (record, period);
ALTER TABLE record_allocations DROP COLUMN plan;
ALTER TABLE billing_balances DROP CONSTRAINT billing_balances_pk;
ALTER TABLE billing_balances ADD CONSTRAINT billing_balances_pk PRIMARY KEY (subscription, meter, period, place);
ALTER TABLE billing_balances DROP COLUMN plan;
ALTER TABLE billing_hours DROP CONSTRAINT billing_hours_pk;
ALTER TABLE billing_hours ADD CONSTRAINT billing_hours_pk PRIMARY KEY (subscription, meter, period, hour);
ALTER TABLE billing_hours DROP COLUMN since_at;
ALTER TABLE billing_hours DROP COLUMN plan;
ALTER TABLE ledger_entries DROP COLUMN plan;
ALTER TABLE usage_events DROP COLUMN plan;
