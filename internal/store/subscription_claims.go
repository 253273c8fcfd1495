package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/store/db"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

const claimEmail = "claim-email" // context of the encryption

var errNoKeys = errors.New("store: no instance key, so nothing secret can be kept")

func (k *Keys) sealText(plain, what string) ([]byte, error) {
	switch {
	case plain == "":
		return []byte{}, nil
	case k == nil:
		return nil, errNoKeys
	}
	return k.Seal([]byte(plain), what)
}

func (k *Keys) openText(sealed []byte, what string) (string, error) {
	switch {
	case len(sealed) == 0:
		return "", nil
	case k == nil:
		return "", errNoKeys
	}
	plain, err := k.Open(sealed, what)
	return string(plain), err
}

// orEmpty keeps NULL out of the database.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func toClaim(k *Keys, r db.Claim) (subscription.Claim, error) {
	email, err := k.openText(r.Email, claimEmail)
	if err != nil {
		return subscription.Claim{}, fmt.Errorf("read claim %s: %w", r.ID, err)
	}
	return subscription.Claim{
		ID: id.Claim(r.ID), Subscription: id.Subscription(r.Subscription), TokenHash: r.TokenHash, OpenedAt: fromMicros(r.OpenedAt), ExpiresAt: fromMicros(r.ExpiresAt),
		State: subscription.ClaimState(r.State), InvitedBy: id.Claim(r.InvitedBy), Sends: int(r.Sends), Email: email, EmailHash: r.EmailHash,
		VerifiedAt: fromMicros(r.VerifiedAt), Version: r.Version, Person: r.Person, Buyers: strings.Fields(r.Buyers), Vouched: r.Vouched == 1,
	}, nil
}

func toClaims(k *Keys, rows []db.Claim) ([]subscription.Claim, error) {
	out := make([]subscription.Claim, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = toClaim(k, r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AddClaim implements subscription.ClaimTx.
func (t *Tx) AddClaim(ctx context.Context, c subscription.Claim) error {
	email, err := t.keys.sealText(c.Email, claimEmail)
	if err == nil {
		err = t.q.AddClaim(ctx, db.AddClaimParams{
			ID: string(c.ID), Subscription: string(c.Subscription), TokenHash: c.TokenHash, OpenedAt: micros(c.OpenedAt), ExpiresAt: micros(c.ExpiresAt),
			State: string(c.State), InvitedBy: string(c.InvitedBy), Sends: int64(c.Sends), Email: email, EmailHash: orEmpty(c.EmailHash),
			VerifiedAt: micros(c.VerifiedAt), Version: 1, Person: c.Person, Buyers: strings.Join(c.Buyers, "\n"), Vouched: flag(c.Vouched),
		})
	}
	if err != nil {
		return fmt.Errorf("add a claim: %w", err)
	}
	return nil
}

// LockClaimByToken implements subscription.ClaimTx.
func (t *Tx) LockClaimByToken(ctx context.Context, hash []byte) (subscription.Claim, error) {
	r, err := t.q.LockClaimByToken(ctx, hash)
	if err != nil {
		return subscription.Claim{}, missing(err, "claim", "of this link")
	}
	return toClaim(t.keys, r)
}

// LockClaim implements subscription.ClaimTx.
func (t *Tx) LockClaim(ctx context.Context, c id.Claim) (subscription.Claim, error) {
	r, err := t.q.LockClaim(ctx, string(c))
	if err != nil {
		return subscription.Claim{}, missing(err, "claim", string(c))
	}
	return toClaim(t.keys, r)
}

// SaveClaim implements subscription.ClaimTx.
func (t *Tx) SaveClaim(ctx context.Context, c subscription.Claim) error {
	t.change(c.Subscription)
	email, err := t.keys.sealText(c.Email, claimEmail)
	if err == nil {
		_, err = t.q.SaveClaim(ctx, db.SaveClaimParams{
			ID: string(c.ID), State: string(c.State), Sends: int64(c.Sends), Email: email, EmailHash: orEmpty(c.EmailHash), VerifiedAt: micros(c.VerifiedAt), InvitedBy: string(c.InvitedBy),
			Person: c.Person,
		})
	}
	if err != nil {
		return fmt.Errorf("save claim %s: %w", c.ID, err)
	}
	return nil
}

// ClaimsOfSubscription implements subscription.ClaimTx.
func (t *Tx) ClaimsOfSubscription(ctx context.Context, sub id.Subscription) ([]subscription.Claim, error) {
	rows, err := t.q.ListClaims(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("list claims of %s: %w", sub, err)
	}
	return toClaims(t.keys, rows)
}

// AddMailLink implements subscription.ClaimTx.
func (t *Tx) AddMailLink(ctx context.Context, l subscription.MailLink) error {
	email, err := t.keys.sealText(l.Email, claimEmail)
	if err == nil {
		err = t.q.AddMailLink(ctx, db.AddMailLinkParams{
			TokenHash: l.TokenHash, Claim: string(l.Claim), Email: email, EmailHash: orEmpty(l.EmailHash), QueuedAt: micros(l.QueuedAt), ExpiresAt: micros(l.ExpiresAt),
		})
	}
	if err != nil {
		return fmt.Errorf("add a mail link: %w", err)
	}
	return nil
}

// FindMailLink implements subscription.ClaimTx.
func (t *Tx) FindMailLink(ctx context.Context, hash []byte) (subscription.MailLink, error) {
	r, err := t.q.FindMailLink(ctx, hash)
	if err != nil {
		return subscription.MailLink{}, missing(err, "mail link", "of this token")
	}
	email, err := t.keys.openText(r.Email, claimEmail)
	if err != nil {
		return subscription.MailLink{}, fmt.Errorf("read a mail link: %w", err)
	}
	return subscription.MailLink{
		TokenHash: r.TokenHash, Claim: id.Claim(r.Claim), Email: email, EmailHash: r.EmailHash, QueuedAt: fromMicros(r.QueuedAt), ExpiresAt: fromMicros(r.ExpiresAt),
	}, nil
}

// HashEmail implements subscription.ClaimTx.
func (t *Tx) HashEmail(_ context.Context, email string) ([]byte, error) {
	if t.keys == nil {
		return nil, errNoKeys
	}
	return t.keys.fingerprint("email", subscription.FoldEmail(email)), nil
}

// HashPerson implements subscription.ClaimTx.
func (t *Tx) HashPerson(_ context.Context, person string) (string, error) {
	if t.keys == nil {
		return "", errNoKeys
	}
	return hex.EncodeToString(t.keys.fingerprint("person", person)), nil
}

// ClaimByToken implements subscription.Store.
func (s *Store) ClaimByToken(ctx context.Context, hash []byte) (subscription.Claim, bool, error) {
	q, err := s.query(ctx)
	if err != nil {
		return subscription.Claim{}, false, err
	}
	r, err := q.ClaimByToken(ctx, hash)
	if noRows(err) {
		return subscription.Claim{}, false, nil
	}
	if err != nil {
		return subscription.Claim{}, false, fmt.Errorf("find a claim: %w", err)
	}
	c, err := toClaim(s.keys, r)
	return c, err == nil, err
}

// MailLinkUntil implements subscription.Store.
func (s *Store) MailLinkUntil(ctx context.Context, hash []byte) (until time.Time, ok bool, err error) {
	q, err := s.query(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	r, err := q.FindMailLink(ctx, hash)
	if noRows(err) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("find a mail link: %w", err)
	}
	return fromMicros(r.ExpiresAt), true, nil
}

// ClaimsOf implements subscription.Store.
func (s *Store) ClaimsOf(ctx context.Context, sub id.Subscription) ([]subscription.Claim, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListClaims(ctx, string(sub))
	if err != nil {
		return nil, fmt.Errorf("list claims of %s: %w", sub, err)
	}
	return toClaims(s.keys, rows)
}

// QueueMail implements subscription.Tx.
func (t *Tx) QueueMail(ctx context.Context, m subscription.Mail) error {
	if t.keys == nil {
		return errNoKeys
	}
	return t.AddMail(ctx, notify.Mail{Purpose: notify.Purpose(m.Kind), About: m.About, Address: m.To, Subject: m.Subject, Text: m.Text, Link: m.Link, At: m.At})
}
