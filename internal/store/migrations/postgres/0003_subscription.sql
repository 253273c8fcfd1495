-- Who bought what: customers, subscriptions with their facts, agreements, terms, claims, and the audit trail.
-- +goose Up
CREATE TABLE customers (
    id          TEXT   NOT NULL,
    marketplace TEXT   NOT NULL,
    account     TEXT   NOT NULL,             -- AWS: the acceptor account, 12 digits as text
    created_at  BIGINT NOT NULL,
    CONSTRAINT customers_pk PRIMARY KEY (id),
    -- an account is one customer, however many messages name it at once
    CONSTRAINT customers_account_unique UNIQUE (marketplace, account)
);

CREATE TABLE product_states (
    product    TEXT   NOT NULL,
    mode       TEXT   NOT NULL,              -- a product without a row observes
    cut_over   BIGINT NOT NULL DEFAULT 0,    -- start of the first hour we meter
    actor      TEXT   NOT NULL,
    changed_at BIGINT NOT NULL,
    CONSTRAINT product_states_pk PRIMARY KEY (product),
    CONSTRAINT product_states_mode_check CHECK (mode IN ('observe', 'live')),
    -- a live product has its first hour, an observed one has none
    CONSTRAINT product_states_cut_over_check CHECK ((mode = 'live') = (cut_over > 0))
);

CREATE TABLE subscriptions (
    id           TEXT   NOT NULL,
    marketplace  TEXT   NOT NULL,
    purchase     TEXT   NOT NULL,            -- the marketplace's key of a purchase; AWS: LicenseArn
    account      TEXT   NOT NULL,            -- AWS: the acceptor account
    product      TEXT   NOT NULL,            -- ours
    plan         TEXT   NOT NULL,            -- the plan in force by the newest terms
    customer     TEXT   NOT NULL,
    lineage      TEXT   NOT NULL,            -- the first subscription of the chain; its own id when it continues nothing
    predecessor  TEXT   NOT NULL DEFAULT '', -- the subscription it continues
    replaces     TEXT   NOT NULL DEFAULT '', -- the vendor's id of what it continues, as the vendor said it
    tailnet_name TEXT   NOT NULL,            -- what the buyer sees; suggested until chosen
    name_chosen  BIGINT NOT NULL DEFAULT 0,
    tailnet_of   TEXT   NOT NULL,            -- whose tailnet it uses: its own id, or the predecessor's
    facts        TEXT   NOT NULL,            -- JSON; the merge of every fact of subscription_events, from which it can be rebuilt
    cut_over     BIGINT NOT NULL DEFAULT 0,  -- start of the first hour we meter; 0 while the product observes
    -- what other rooms and SQL readers ask for, computed from facts by the same write
    claimed_at   BIGINT NOT NULL DEFAULT 0,
    starts_at    BIGINT NOT NULL DEFAULT 0,  -- first entitled instant; 0 while not entitled
    ready_at     BIGINT NOT NULL DEFAULT 0,
    ends_at      BIGINT NOT NULL DEFAULT 0,  -- a confirmed end; 0 while none is known
    closed_at    BIGINT NOT NULL DEFAULT 0,
    version      BIGINT NOT NULL DEFAULT 1,
    created_at   BIGINT NOT NULL,
    CONSTRAINT subscriptions_pk PRIMARY KEY (id),
    -- a purchase is one subscription, whether the event or the buyer came first
    CONSTRAINT subscriptions_purchase_unique UNIQUE (marketplace, purchase),
    CONSTRAINT subscriptions_customer_fk FOREIGN KEY (customer) REFERENCES customers (id),
    CONSTRAINT subscriptions_name_chosen_check CHECK (name_chosen IN (0, 1)),
    -- nothing continues itself
    CONSTRAINT subscriptions_predecessor_check CHECK (predecessor <> id)
);
CREATE INDEX subscriptions_customer ON subscriptions (customer);
CREATE INDEX subscriptions_product ON subscriptions (product, id);
CREATE INDEX subscriptions_replaces ON subscriptions (marketplace, replaces);
CREATE INDEX subscriptions_lineage ON subscriptions (lineage);

CREATE TABLE agreements (
    marketplace  TEXT   NOT NULL,
    agreement    TEXT   NOT NULL,            -- the vendor's id
    subscription TEXT   NOT NULL,
    linked_at    BIGINT NOT NULL,
    -- an agreement belongs to one subscription; a subscription may have had several
    CONSTRAINT agreements_pk PRIMARY KEY (marketplace, agreement),
    CONSTRAINT agreements_subscription_fk FOREIGN KEY (subscription) REFERENCES subscriptions (id)
);
CREATE INDEX agreements_subscription ON agreements (subscription);

CREATE TABLE terms (
    subscription TEXT   NOT NULL,
    fingerprint  TEXT   NOT NULL,            -- hash of what is agreed, without dates: saying it again changes no row
    plan         TEXT   NOT NULL,
    named_plan   TEXT   NOT NULL,            -- the vendor's word
    offer        TEXT   NOT NULL,
    agreement    TEXT   NOT NULL,
    private      BIGINT NOT NULL,
    quantities   TEXT   NOT NULL,            -- "dimension=n" lines, sorted
    status       TEXT   NOT NULL,
    from_at      BIGINT NOT NULL,            -- what the vendor gives as the start of these terms; 0: did not say
    to_at        BIGINT NOT NULL,            -- 0: no end
    stated_at    BIGINT NOT NULL,            -- the first time the vendor said so
    version      BIGINT NOT NULL,            -- the last time
    CONSTRAINT terms_pk PRIMARY KEY (subscription, fingerprint),
    CONSTRAINT terms_subscription_fk FOREIGN KEY (subscription) REFERENCES subscriptions (id),
    CONSTRAINT terms_status_check CHECK (status IN ('pending', 'effective', 'refused', 'withdrawn')),
    CONSTRAINT terms_private_check CHECK (private IN (0, 1))
);

CREATE TABLE subscription_events (
    id           TEXT   NOT NULL,
    subscription TEXT   NOT NULL,            -- '' while only the agreement is known
    marketplace  TEXT   NOT NULL,
    agreement    TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    delivery     TEXT   NOT NULL,            -- ours; '' when we asked or decided ourselves
    recorded_at  BIGINT NOT NULL,
    happened_at  BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    changed      BIGINT NOT NULL,            -- 1: the facts are others than before
    body         TEXT   NOT NULL,            -- JSON of the event or fact; no personal data
    CONSTRAINT subscription_events_pk PRIMARY KEY (id),
    CONSTRAINT subscription_events_changed_check CHECK (changed IN (0, 1)),
    -- an event belongs to a subscription or waits for its agreement
    CONSTRAINT subscription_events_home_check CHECK (subscription <> '' OR agreement <> '')
);
CREATE INDEX subscription_events_story ON subscription_events (subscription, id);
CREATE INDEX subscription_events_waiting ON subscription_events (marketplace, agreement, subscription);

CREATE TABLE claims (
    id           TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    token_hash   BYTEA  NOT NULL,            -- SHA-256 of the link's token; the token itself is nowhere
    opened_at    BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT   NOT NULL,
    invited_by   TEXT   NOT NULL DEFAULT '', -- the claim whose person sent the link on
    sends        BIGINT NOT NULL DEFAULT 0,  -- mails sent for it, bounded
    email        BYTEA  NOT NULL,            -- encrypted; empty until given
    email_hash   BYTEA  NOT NULL,            -- keyed hash: the same person again; empty until given
    verified_at  BIGINT NOT NULL DEFAULT 0,
    version      BIGINT NOT NULL DEFAULT 1,
    CONSTRAINT claims_pk PRIMARY KEY (id),
    -- a link opens one claim
    CONSTRAINT claims_token_unique UNIQUE (token_hash),
    CONSTRAINT claims_subscription_fk FOREIGN KEY (subscription) REFERENCES subscriptions (id),
    CONSTRAINT claims_state_check CHECK (state IN ('open', 'mailed', 'holder', 'admitted', 'second_person')),
    -- who was verified has a time
    CONSTRAINT claims_verified_check CHECK ((state IN ('open', 'mailed')) = (verified_at = 0))
);
CREATE INDEX claims_subscription ON claims (subscription);
-- one person holds a purchase: the first verified one
CREATE UNIQUE INDEX claims_holder_unique ON claims (subscription) WHERE state = 'holder';

CREATE TABLE claim_mails (
    token_hash BYTEA  NOT NULL,              -- SHA-256 of the token in the mail
    claim      TEXT   NOT NULL,
    email      BYTEA  NOT NULL,              -- encrypted: the address this link proves, whatever the form said later
    email_hash BYTEA  NOT NULL,
    queued_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT claim_mails_pk PRIMARY KEY (token_hash),
    CONSTRAINT claim_mails_claim_fk FOREIGN KEY (claim) REFERENCES claims (id)
);
CREATE INDEX claim_mails_claim ON claim_mails (claim);

CREATE TABLE audit (
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,                 -- business time
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL,                 -- no secret, no address
    hash    BYTEA  NOT NULL,                 -- over the hash before and this line
    -- no gap and no second line at one place
    CONSTRAINT audit_pk PRIMARY KEY (seq)
);
CREATE TABLE audit_head (
    id   BIGINT NOT NULL,
    seq  BIGINT NOT NULL,
    hash BYTEA  NOT NULL,
    CONSTRAINT audit_head_pk PRIMARY KEY (id),
    CONSTRAINT audit_head_single CHECK (id = 1)
);
INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '');
-- +goose Down
DROP TABLE audit_head;
DROP TABLE audit;
DROP TABLE claim_mails;
DROP TABLE claims;
DROP TABLE subscription_events;
DROP TABLE terms;
DROP TABLE agreements;
DROP TABLE subscriptions;
DROP TABLE product_states;
DROP TABLE customers;
