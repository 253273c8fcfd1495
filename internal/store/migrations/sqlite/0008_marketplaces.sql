-- What purchases on Google Cloud and Azure are known by, beside what AWS says.
-- +goose Up
ALTER TABLE subscriptions ADD COLUMN listing TEXT NOT NULL DEFAULT ''; -- the marketplace's name of the product, where metering says it; Google: the service
ALTER TABLE claims ADD COLUMN person TEXT NOT NULL DEFAULT '';        -- keyed hash, hexadecimal: who came, by the marketplace's word or sign-in
ALTER TABLE claims ADD COLUMN buyers TEXT NOT NULL DEFAULT '';        -- keyed hashes, one a line: who may prove it by the marketplace's sign-in
ALTER TABLE claims ADD COLUMN vouched INTEGER NOT NULL DEFAULT 0 CONSTRAINT claims_vouched_check CHECK (vouched IN (0, 1)); -- 1: the marketplace verified the address
-- +goose Down
ALTER TABLE claims DROP COLUMN vouched;
ALTER TABLE claims DROP COLUMN buyers;
ALTER TABLE claims DROP COLUMN person;
ALTER TABLE subscriptions DROP COLUMN listing;
