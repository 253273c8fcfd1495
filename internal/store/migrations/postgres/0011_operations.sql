-- A producer that invents a new id for a retry still counts once, where the meter declares a natural key.
-- +goose Up
CREATE TABLE usage_operations (
    operation BYTEA NOT NULL,                   -- SHA-256 over purchase, meter, operation and interval
    said      BYTEA NOT NULL,                   -- SHA-256 over what was said of it
    event     TEXT NOT NULL,                   -- the event that counted it
    -- exactly once: an operation is one fact of use, whatever ids it is sent under
    CONSTRAINT usage_operations_pk PRIMARY KEY (operation)
);
-- +goose Down
DROP TABLE usage_operations;
