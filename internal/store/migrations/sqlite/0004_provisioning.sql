-- The tailnets we run for purchases (provisioning), and the control plane that keeps tailnets here (provisioning/embedded).
-- +goose Up
CREATE TABLE tailnets (
    id             TEXT   NOT NULL,
    subscription   TEXT   NOT NULL,             -- the purchase it was made for
    holder         TEXT   NOT NULL,             -- the purchase that uses it now: the same, or a successor
    driver         TEXT   NOT NULL,
    display_name   TEXT   NOT NULL,             -- its name at the control plane, made from id: how it is found again after a crash
    name           TEXT   NOT NULL,             -- what the buyer sees
    state          TEXT   NOT NULL,
    step           TEXT   NOT NULL DEFAULT '',  -- the next thing to do; empty when nothing is
    step_since     INTEGER NOT NULL,
    waiting_for    TEXT   NOT NULL DEFAULT '',  -- why it does not go on, when it does not
    who_acts       TEXT   NOT NULL DEFAULT '',
    remote_id      TEXT   NOT NULL DEFAULT '',  -- the control plane's id
    dns_name       TEXT   NOT NULL DEFAULT '',
    credential     BLOB  NOT NULL,             -- the tailnet's own client, sealed; empty until created
    saved_policy   TEXT   NOT NULL DEFAULT '',  -- the policy in force before a suspension
    key_number     INTEGER NOT NULL DEFAULT 1,   -- which join key is wanted; a new one raises it
    key_id         TEXT   NOT NULL DEFAULT '',
    join_key       BLOB  NOT NULL,             -- sealed; empty before it is made and again once it was revealed
    revealed_at    INTEGER NOT NULL DEFAULT 0,
    revealed_by    TEXT   NOT NULL DEFAULT '',
    requested_at   INTEGER NOT NULL,
    ready_at       INTEGER NOT NULL DEFAULT 0,   -- first time it was active
    suspended_at   INTEGER NOT NULL DEFAULT 0,   -- access is cut since; 0 while it is not
    revoked_at     INTEGER NOT NULL DEFAULT 0,   -- taken away for good; retention counts from here
    version        INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT tailnets_pk PRIMARY KEY (id),
    -- a purchase has one tailnet, however often provisioning runs
    CONSTRAINT tailnets_subscription_unique UNIQUE (subscription),
    -- two tailnets of one name could not be told apart after a crash
    CONSTRAINT tailnets_display_name_unique UNIQUE (display_name),
    CONSTRAINT tailnets_state_check CHECK (state IN ('requested', 'creating', 'awaiting_quota', 'configuring', 'active', 'suspending', 'suspended', 'revoking', 'revoked', 'deleting', 'deleted', 'failed')),
    -- nothing is configured in a tailnet whose credential we do not have
    CONSTRAINT tailnets_credential_check CHECK (state IN ('requested', 'creating', 'awaiting_quota', 'revoked', 'deleted', 'failed') OR length(credential) > 0),
    -- a key that was shown is not kept
    CONSTRAINT tailnets_revealed_check CHECK (revealed_at = 0 OR length(join_key) = 0),
    CONSTRAINT tailnets_ready_check CHECK (state <> 'active' OR ready_at > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE tailnet_uses (
    subscription TEXT   NOT NULL,
    tailnet      TEXT   NOT NULL,
    since_at     INTEGER NOT NULL,               -- what the tailnet does from here on is this purchase's usage
    -- a purchase uses one tailnet
    CONSTRAINT tailnet_uses_pk PRIMARY KEY (subscription),
    CONSTRAINT tailnet_uses_tailnet_fk FOREIGN KEY (tailnet) REFERENCES tailnets (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE embedded_tailnets (
    id           TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    dns_name     TEXT   NOT NULL,
    created_at   INTEGER NOT NULL,
    policy       TEXT   NOT NULL,
    settings     TEXT   NOT NULL,               -- JSON
    parent       INTEGER NOT NULL DEFAULT 0,     -- 1: the organisation's own, which holds the parent client
    CONSTRAINT embedded_tailnets_pk PRIMARY KEY (id),
    -- unique in the organisation, as at Tailscale: creating twice finds the first
    CONSTRAINT embedded_tailnets_display_name_unique UNIQUE (display_name),
    CONSTRAINT embedded_tailnets_dns_name_unique UNIQUE (dns_name),
    CONSTRAINT embedded_tailnets_parent_check CHECK (parent IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE embedded_keys (
    id          TEXT   NOT NULL,
    tailnet     TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    secret_hash BLOB  NOT NULL,                -- SHA-256; the secret itself is nowhere
    description TEXT   NOT NULL,
    scopes      TEXT   NOT NULL DEFAULT '',     -- client: separated by spaces
    tags        TEXT   NOT NULL DEFAULT '',     -- separated by spaces
    reusable    INTEGER NOT NULL DEFAULT 0,
    ephemeral   INTEGER NOT NULL DEFAULT 0,
    preauthorized INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL DEFAULT 0,      -- auth keys expire, clients do not
    revoked_at  INTEGER NOT NULL DEFAULT 0,      -- a deleted key still answers, as invalid
    used_at     INTEGER NOT NULL DEFAULT 0,      -- first join; a key that is not reusable has one
    CONSTRAINT embedded_keys_pk PRIMARY KEY (id),
    CONSTRAINT embedded_keys_secret_unique UNIQUE (secret_hash),
    CONSTRAINT embedded_keys_kind_check CHECK (kind IN ('auth', 'client')),
    CONSTRAINT embedded_keys_expiry_check CHECK ((kind = 'auth') = (expires_at > 0)),
    CONSTRAINT embedded_keys_tailnet_fk FOREIGN KEY (tailnet) REFERENCES embedded_tailnets (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX embedded_keys_tailnet ON embedded_keys (tailnet);

CREATE TABLE embedded_parent (
    id         INTEGER NOT NULL,                 -- always 1
    client     TEXT   NOT NULL,
    secret     BLOB  NOT NULL,                 -- sealed: every replica must be able to use it
    CONSTRAINT embedded_parent_pk PRIMARY KEY (id),
    -- one organisation a database
    CONSTRAINT embedded_parent_one_check CHECK (id = 1)
) STRICT, WITHOUT ROWID;

CREATE TABLE embedded_tokens (
    token_hash BLOB  NOT NULL,                 -- SHA-256; the token itself is nowhere
    client     TEXT   NOT NULL,                 -- dies with it
    tailnet    TEXT   NOT NULL,
    scopes     TEXT   NOT NULL,
    expires_at INTEGER NOT NULL,                 -- wall time
    CONSTRAINT embedded_tokens_pk PRIMARY KEY (token_hash),
    CONSTRAINT embedded_tokens_client_fk FOREIGN KEY (client) REFERENCES embedded_keys (id) ON DELETE CASCADE,
    CONSTRAINT embedded_tokens_tailnet_fk FOREIGN KEY (tailnet) REFERENCES embedded_tailnets (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX embedded_tokens_expiry ON embedded_tokens (expires_at);

CREATE TABLE embedded_users (
    tailnet    TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    login_name TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    left_at    INTEGER NOT NULL DEFAULT 0,       -- gone since; kept, so that a repeated request does not bring somebody back
    CONSTRAINT embedded_users_pk PRIMARY KEY (tailnet, id),
    -- nobody leaves before coming
    CONSTRAINT embedded_users_left_check CHECK (left_at = 0 OR left_at >= created_at),
    CONSTRAINT embedded_users_tailnet_fk FOREIGN KEY (tailnet) REFERENCES embedded_tailnets (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE embedded_nodes (
    id         TEXT   NOT NULL,
    tailnet    TEXT   NOT NULL,
    hostname   TEXT   NOT NULL,
    login_name TEXT   NOT NULL DEFAULT '',      -- whose it is; a tagged node is nobody's
    tags       TEXT   NOT NULL DEFAULT '',      -- separated by spaces
    ephemeral  INTEGER NOT NULL DEFAULT 0,
    external   INTEGER NOT NULL DEFAULT 0,       -- shared in from another tailnet
    authorized INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    left_at    INTEGER NOT NULL DEFAULT 0,
    -- an id names one node in the organisation: /device/ID names no tailnet
    CONSTRAINT embedded_nodes_pk PRIMARY KEY (id),
    CONSTRAINT embedded_nodes_left_check CHECK (left_at = 0 OR left_at >= created_at),
    CONSTRAINT embedded_nodes_flags_check CHECK (ephemeral IN (0, 1) AND external IN (0, 1) AND authorized IN (0, 1)),
    CONSTRAINT embedded_nodes_tailnet_fk FOREIGN KEY (tailnet) REFERENCES embedded_tailnets (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX embedded_nodes_tailnet ON embedded_nodes (tailnet);
-- +goose Down
DROP TABLE embedded_nodes;
DROP TABLE embedded_users;
DROP TABLE embedded_tokens;
DROP TABLE embedded_parent;
DROP TABLE embedded_keys;
DROP TABLE embedded_tailnets;
DROP TABLE tailnet_uses;
DROP TABLE tailnets;
