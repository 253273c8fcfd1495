-- What is sold: every catalog that was ever in force, because records are frozen under its version.
-- +goose Up
CREATE TABLE catalog_versions (
    version TEXT   NOT NULL,
    hash    TEXT   NOT NULL,                 -- of the text, SHA-256 in hexadecimal digits
    text    BYTEA  NOT NULL,                 -- the file as it was applied
    kept_at BIGINT NOT NULL,
    -- a version stands for one text, for ever
    CONSTRAINT catalog_versions_pk PRIMARY KEY (version)
);
CREATE TABLE catalog_applied (
    seq        BIGINT NOT NULL,              -- the greatest is in force; none: the shipped catalog
    version    TEXT   NOT NULL,
    applied_at BIGINT NOT NULL,              -- business time
    applied_by TEXT   NOT NULL,
    reason     TEXT   NOT NULL DEFAULT '',   -- why it was forced over bills that were counting
    -- two that are applied at once do not both follow the same one
    CONSTRAINT catalog_applied_pk PRIMARY KEY (seq),
    CONSTRAINT catalog_applied_version_fk FOREIGN KEY (version) REFERENCES catalog_versions (version)
);
-- +goose Down
DROP TABLE catalog_applied;
DROP TABLE catalog_versions;
