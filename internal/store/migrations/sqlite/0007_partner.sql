-- Who brought a customer: partners, what they are known by, their links, and the evidence as it came.
-- +goose Up
CREATE TABLE partners (
    id         TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    folded     TEXT   NOT NULL,              -- the name in lower case, letters and digits only
    created_at INTEGER NOT NULL,
    created_by TEXT   NOT NULL,
    CONSTRAINT partners_pk PRIMARY KEY (id),
    -- spellings of one name are one partner
    CONSTRAINT partners_name_unique UNIQUE (folded)
) STRICT;

CREATE TABLE partner_keys (
    marketplace TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    value       TEXT   NOT NULL,             -- the vendor's word, verbatim
    partner     TEXT   NOT NULL,
    recorded_at INTEGER NOT NULL,
    recorded_by TEXT   NOT NULL,
    -- a reseller's account, or an offer, is one partner's
    CONSTRAINT partner_keys_pk PRIMARY KEY (marketplace, kind, value),
    CONSTRAINT partner_keys_partner_fk FOREIGN KEY (partner) REFERENCES partners (id),
    CONSTRAINT partner_keys_kind_check CHECK (kind IN ('reseller', 'offer'))
) STRICT;

CREATE TABLE referral_links (
    id          TEXT   NOT NULL,
    partner     TEXT   NOT NULL,
    marketplace TEXT   NOT NULL,
    product     TEXT   NOT NULL,
    made_at     INTEGER NOT NULL,
    made_by     TEXT   NOT NULL,
    CONSTRAINT referral_links_pk PRIMARY KEY (id),
    -- asking for a link again gives the same one
    CONSTRAINT referral_links_listing_unique UNIQUE (partner, marketplace, product),
    CONSTRAINT referral_links_partner_fk FOREIGN KEY (partner) REFERENCES partners (id)
) STRICT;

-- What a marketplace said about how a purchase, or an offer nobody has taken yet, was sold.
CREATE TABLE sales (
    marketplace  TEXT   NOT NULL,
    subscription TEXT   NOT NULL,            -- '' when it was said of an offer
    offer        TEXT   NOT NULL,            -- '' when none was named
    private      INTEGER NOT NULL,
    reseller     TEXT   NOT NULL,            -- '' when none was named
    said_at      INTEGER NOT NULL,           -- the vendor's time of the earliest message that says so
    message      TEXT   NOT NULL,            -- the vendor's id of that message; '' when it answered a question
    heard_at     INTEGER NOT NULL,           -- when we first heard it
    -- saying it again adds nothing
    CONSTRAINT sales_pk PRIMARY KEY (marketplace, subscription, offer, private, reseller),
    CONSTRAINT sales_private_check CHECK (private IN (0, 1)),
    -- it is about a purchase or about an offer
    CONSTRAINT sales_subject_check CHECK (subscription <> '' OR offer <> '')
) STRICT;
CREATE INDEX sales_subscription ON sales (subscription);
CREATE INDEX sales_offer ON sales (marketplace, offer);

CREATE TABLE touches (
    id           TEXT   NOT NULL,
    subscription TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    link         TEXT   NOT NULL,            -- the referral link that was followed; '' otherwise
    partner      TEXT   NOT NULL,            -- whose link it is; '' when only the buyer's words tell
    said         BLOB   NOT NULL,            -- the buyer's words, encrypted; empty for a link
    claim        TEXT   NOT NULL,            -- the visit that brought it
    touched_at   INTEGER NOT NULL,           -- business time: the link was followed, the answer given
    recorded_at  INTEGER NOT NULL,
    CONSTRAINT touches_pk PRIMARY KEY (id),
    -- a visit tells of a link once and gives one answer
    CONSTRAINT touches_visit_unique UNIQUE (subscription, claim, kind, link),
    CONSTRAINT touches_subscription_fk FOREIGN KEY (subscription) REFERENCES subscriptions (id),
    CONSTRAINT touches_kind_check CHECK (kind IN ('link', 'said')),
    -- a link is somebody's; words are only words
    CONSTRAINT touches_link_check CHECK ((kind = 'link') = (link <> '') AND (link = '') = (partner = ''))
) STRICT;
-- +goose Down
DROP TABLE touches;
DROP TABLE sales;
DROP TABLE referral_links;
DROP TABLE partner_keys;
DROP TABLE partners;
