-- Until when an attempt that may have been recorded may be repeated: vendors count in wall time.
-- +goose Up
ALTER TABLE attempts ADD COLUMN wall_at BIGINT NOT NULL DEFAULT 0; -- when it was stored, just before the call; 0: not known
-- +goose Down
ALTER TABLE attempts DROP COLUMN wall_at;
