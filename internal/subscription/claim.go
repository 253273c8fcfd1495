package subscription

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// ClaimState is how far a buyer's visit has come.
type ClaimState string

const (
	ClaimOpen     ClaimState = "open"          // came from the marketplace, or by an invitation
	ClaimMailed   ClaimState = "mailed"        // gave an address; a link was sent to it
	ClaimHolder   ClaimState = "holder"        // verified first: holds the purchase
	ClaimAdmitted ClaimState = "admitted"      // the holder again, or invited by the holder
	ClaimSecond   ClaimState = "second_person" // verified, but a colleague holds the purchase
)

// Claim is a buyer's visit that binds a person to a purchase.
type Claim struct {
	ID           id.Claim
	Subscription id.Subscription
	TokenHash    []byte
	OpenedAt     time.Time
	ExpiresAt    time.Time
	State        ClaimState
	InvitedBy    id.Claim
	Sends        int
	Email        string // decrypted; never logged
	EmailHash    []byte // keyed
	VerifiedAt   time.Time
	// Person and Buyers are keyed hashes of people in the marketplace's words: who
	// came, or signed in, and who may sign in. Vouched: the marketplace verified Email.
	Person  string
	Buyers  []string
	Vouched bool
	Version int64
}

// MailLink is a link that proves an address.
type MailLink struct {
	TokenHash []byte
	Claim     id.Claim
	Email     string
	EmailHash []byte
	QueuedAt  time.Time
	ExpiresAt time.Time
}

// ClaimTx is what claims need inside a transaction.
type ClaimTx interface {
	AddClaim(ctx context.Context, c Claim) error
	// LockClaimByToken and LockClaim lock the claim; NotFound when there is none.
	LockClaimByToken(ctx context.Context, hash []byte) (Claim, error)
	LockClaim(ctx context.Context, c id.Claim) (Claim, error)
	SaveClaim(ctx context.Context, c Claim) error
	ClaimsOfSubscription(ctx context.Context, sub id.Subscription) ([]Claim, error)
	AddMailLink(ctx context.Context, l MailLink) error
	FindMailLink(ctx context.Context, hash []byte) (MailLink, error)
	// HashEmail is a keyed hash: equal addresses, equal hashes, and nobody
	// without the key can guess which.
	HashEmail(ctx context.Context, email string) ([]byte, error)
	// HashPerson is the same of a person's id at a marketplace.
	HashPerson(ctx context.Context, person string) (string, error)
}

const (
	claimLife    = 24 * time.Hour // business time
	mailLife     = 24 * time.Hour
	mailsPerLink = 5  // of one claim
	mailsPerDay  = 20 // of one purchase
)

// Confirmed is who a mail link turned out to belong to.
type Confirmed struct {
	Subscription id.Subscription
	Claim        id.Claim
	State        ClaimState
}

// Visit is what a claim link shows.
type Visit struct {
	Claim        Claim
	Subscription Subscription
	State        State
	Holder       string // masked address of who holds the purchase; "" when nobody does
	SignIn       bool   // the marketplace's sign-in can prove who came: SignIn
	Known        bool   // the marketplace has proved who came, and we know them: Continue
	KnownAs      string // their masked address then
}

// OpenClaim makes a claim in the transaction that learnt of the visit. The token
// is returned once and kept only as a hash. Several claims of one purchase are
// ordinary: buyers press the button twice, in two browsers, as two people.
func (s *Service) OpenClaim(ctx context.Context, t Tx, sub id.Subscription) (token string, err error) {
	return s.openClaim(ctx, t, Claim{Subscription: sub})
}

func (s *Service) openClaim(ctx context.Context, t Tx, c Claim) (string, error) {
	token, now := newToken(), s.now()
	c.ID, c.TokenHash, c.OpenedAt, c.ExpiresAt, c.State = id.NewClaim(), hashToken(token), now, now.Add(claimLife), ClaimOpen
	if err := t.AddClaim(ctx, c); err != nil {
		return "", fmt.Errorf("open a claim of %s: %w", c.Subscription, err)
	}
	return token, nil
}

// Visit reads what a claim link leads to. NotFound or Gone with a text for the
// buyer when it leads nowhere.
func (s *Service) Visit(ctx context.Context, token string) (Visit, error) {
	c, ok, err := s.store.ClaimByToken(ctx, hashToken(token))
	if err != nil {
		return Visit{}, fmt.Errorf("open a claim link: %w", err)
	}
	if !ok {
		return Visit{}, errUnknownLink()
	}
	if !s.now().Before(c.ExpiresAt) {
		return Visit{}, errExpiredLink()
	}
	sub, err := s.Get(ctx, c.Subscription)
	if err != nil {
		return Visit{}, err
	}
	all, err := s.store.ClaimsOf(ctx, sub.ID)
	if err != nil {
		return Visit{}, fmt.Errorf("claims of %s: %w", sub.ID, err)
	}
	v := Visit{Claim: c, Subscription: sub, State: sub.State(s.now())}
	if h, ok := holderOf(all); ok {
		v.Holder = MaskEmail(h.Email)
	}
	if as, ok := knownAs(c, all, s.now()); ok {
		v.Known, v.KnownAs = true, MaskEmail(as.Email)
	}
	v.SignIn = len(c.Buyers) > 0 && (c.VerifiedAt.IsZero() || c.signedIn())
	return v, nil
}

// Email takes the address a visitor gave and queues a mail that proves it, in
// one transaction. Invalid: not an address; Throttled: too many mails.
func (s *Service) Email(ctx context.Context, token, address string) error {
	address, err := ParseEmail(address)
	if err != nil {
		return err
	}
	err = s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		c, err := s.lockVisit(ctx, t, token, now)
		if err != nil {
			return err
		}
		if c.State != ClaimOpen && c.State != ClaimMailed {
			return fault.New(fault.Conflict, "This visit is confirmed already: open the link in the mail you got first, or press “Set up your account” in the marketplace again.")
		}
		if err := s.countMail(ctx, t, &c, now); err != nil {
			return err
		}
		hash, err := t.HashEmail(ctx, address)
		if err != nil {
			return err
		}
		link := newToken()
		if err := t.AddMailLink(ctx, MailLink{TokenHash: hashToken(link), Claim: c.ID, Email: address, EmailHash: hash, QueuedAt: now, ExpiresAt: now.Add(mailLife)}); err != nil {
			return err
		}
		c.State = ClaimMailed
		if err := t.SaveClaim(ctx, c); err != nil {
			return err
		}
		return t.QueueMail(ctx, Mail{
			To: address, Kind: MailVerify, About: string(c.ID), Link: "/verify/" + link, At: now,
			Subject: "Confirm your address to set up your network",
			Text:    "Somebody, probably you, is setting up a private network bought on a cloud marketplace and gave this address.\nOpen the link and press the button to confirm. The link works for 24 hours. If it was not you, do nothing.",
		})
	})
	if err != nil {
		return fmt.Errorf("mail a claim link: %w", err)
	}
	return nil
}

// Kinds of mail this room queues.
const (
	MailVerify       = "verify"
	MailNetworkAdmin = "network_admin"
)

// lockVisit locks the claim a link names, if it may still be used.
func (s *Service) lockVisit(ctx context.Context, t Tx, token string, now time.Time) (Claim, error) {
	c, err := t.LockClaimByToken(ctx, hashToken(token))
	switch {
	case fault.Is(err, fault.NotFound):
		return Claim{}, errUnknownLink()
	case err != nil:
		return Claim{}, err
	case !now.Before(c.ExpiresAt):
		return Claim{}, errExpiredLink()
	}
	return c, nil
}

// countMail bounds mails by visit and by purchase, so that a form of ours cannot
// be used to write to strangers.
func (s *Service) countMail(ctx context.Context, t Tx, c *Claim, now time.Time) error {
	all, err := t.ClaimsOfSubscription(ctx, c.Subscription)
	if err != nil {
		return err
	}
	day := 0
	for _, o := range all {
		if o.OpenedAt.After(now.Add(-24 * time.Hour)) {
			day += o.Sends
		}
	}
	if c.Sends >= mailsPerLink || day >= mailsPerDay {
		return &fault.Error{Class: fault.Throttled, RetryAfter: time.Hour, Public: "We have sent as many mails for this purchase as we may for now. Look in the spam folder, or come back tomorrow from the marketplace's page."}
	}
	c.Sends++
	return nil
}

// MailLink tells whether Confirm would take the link of a mail now, and spends
// nothing: mail scanners open links. NotFound or Gone when it would not.
func (s *Service) MailLink(ctx context.Context, mailToken string) error {
	until, ok, err := s.store.MailLinkUntil(ctx, hashToken(mailToken))
	switch {
	case err != nil:
		return fmt.Errorf("open a mail link: %w", err)
	case !ok:
		return errUnknownLink()
	case !s.now().Before(until):
		return errExpiredLink()
	}
	return nil
}

// Confirm takes the link of a mail. The first person who confirms an address
// holds the purchase; the same person again and whom the holder invited are
// admitted. Anybody else is told whom to ask (Denied, with the state kept, so
// that the holder can admit them). Repeating it gives the same answer.
func (s *Service) Confirm(ctx context.Context, mailToken string) (Confirmed, error) {
	var out Confirmed
	var refused error
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		out, refused = Confirmed{}, nil
		now := s.now()
		link, err := t.FindMailLink(ctx, hashToken(mailToken))
		switch {
		case fault.Is(err, fault.NotFound):
			return errUnknownLink()
		case err != nil:
			return err
		case !now.Before(link.ExpiresAt):
			return errExpiredLink()
		}
		c, err := t.LockClaim(ctx, link.Claim)
		if err != nil {
			return err
		}
		sub, err := t.LockSubscription(ctx, c.Subscription) // one person at a time decides who holds it
		if err != nil {
			return err
		}
		all, err := t.ClaimsOfSubscription(ctx, sub.ID)
		if err != nil {
			return err
		}
		if !c.VerifiedAt.IsZero() && !bytes.Equal(c.EmailHash, link.EmailHash) {
			return fault.New(fault.Denied, "This visit was confirmed with another address. Press “Set up your account” in the marketplace again to use this one.")
		}
		c.Email, c.EmailHash = link.Email, link.EmailHash
		out, refused, err = s.verified(ctx, t, &sub, c, all, now)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return out, fmt.Errorf("confirm an address: %w", err)
	}
	return out, nil
}

// verified takes a claim whose address is proved, of a locked purchase. refused: it
// was kept, and somebody else holds the purchase.
func (s *Service) verified(ctx context.Context, t Tx, sub *Subscription, c Claim, all []Claim, now time.Time) (out Confirmed, refused, err error) {
	holder, held := holderOf(all)
	if c.VerifiedAt.IsZero() {
		c.VerifiedAt, c.State = now, admission(c, held, all)
		if err := t.SaveClaim(ctx, c); err != nil {
			return out, nil, err
		}
		if err := t.AddAudit(ctx, AuditEntry{At: now, Actor: string(c.ID), Action: "claim." + string(c.State), Subject: string(sub.ID)}); err != nil {
			return out, nil, err
		}
	}
	out = Confirmed{Subscription: sub.ID, Claim: c.ID, State: c.State}
	if c.State == ClaimSecond {
		return out, errSecondPerson(MaskEmail(holder.Email)), nil
	}
	if err := s.note(ctx, t, sub, Fact{Kind: FactClaimed, At: now}, now); err != nil {
		return out, nil, err
	}
	return out, nil, s.share(ctx, t, *sub, c, now)
}

// admission is what a newly verified claim becomes.
func admission(c Claim, held bool, all []Claim) ClaimState {
	if !held {
		return ClaimHolder
	}
	for _, o := range all {
		known := o.State == ClaimHolder || o.State == ClaimAdmitted
		if known && (o.ID == c.InvitedBy || c.same(o)) {
			return ClaimAdmitted
		}
	}
	return ClaimSecond
}

// signedIn reports that the marketplace's sign-in proved who it is. Only that: a
// directory's administrator may write any address into it.
func (c Claim) signedIn() bool { return c.Person != "" && slices.Contains(c.Buyers, c.Person) }

// same reports that c, just verified, is the person of a claim verified before.
func (c Claim) same(o Claim) bool {
	if c.signedIn() {
		return c.Person == o.Person
	}
	return bytes.Equal(c.EmailHash, o.EmailHash)
}

func holderOf(all []Claim) (Claim, bool) {
	for _, c := range all {
		if c.State == ClaimHolder {
			return c, true
		}
	}
	return Claim{}, false
}

// Admit lets a second person in; the holder's session asks for it. After that
// the person's own mail link opens the purchase.
func (s *Service) Admit(ctx context.Context, sub id.Subscription, second id.Claim) error {
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		c, err := t.LockClaim(ctx, second)
		if err != nil {
			return err
		}
		if c.Subscription != sub {
			return ErrWrongAccount()
		}
		if c.State != ClaimSecond {
			return nil
		}
		c.State = ClaimAdmitted
		if err := t.SaveClaim(ctx, c); err != nil {
			return err
		}
		return t.AddAudit(ctx, AuditEntry{At: s.now(), Actor: "holder of " + string(sub), Action: "claim.admit", Subject: string(second)})
	})
	if err != nil {
		return fmt.Errorf("admit a second person to %s: %w", sub, err)
	}
	return nil
}

// People lists who was verified for a purchase, addresses masked.
func (s *Service) People(ctx context.Context, sub id.Subscription) ([]Claim, error) {
	all, err := s.store.ClaimsOf(ctx, sub)
	if err != nil {
		return nil, fmt.Errorf("people of %s: %w", sub, err)
	}
	var out []Claim
	for _, c := range all {
		if !c.VerifiedAt.IsZero() {
			c.Email, c.EmailHash, c.TokenHash = MaskEmail(c.Email), nil, nil
			out = append(out, c)
		}
	}
	return out, nil
}

// Invite sends a link to a colleague ("send this to my network admin") from a
// claim page. Whoever opens it confirms their own address; they are admitted if
// the sender is, and hold the purchase if nobody does.
func (s *Service) Invite(ctx context.Context, token, address string) error {
	return s.invite(ctx, address, func(ctx context.Context, t Tx, now time.Time) (Claim, error) {
		return s.lockVisit(ctx, t, token, now)
	})
}

// InviteFrom is Invite from the page of a purchase, in a verified session.
func (s *Service) InviteFrom(ctx context.Context, sub id.Subscription, address string) error {
	return s.invite(ctx, address, func(ctx context.Context, t Tx, _ time.Time) (Claim, error) {
		all, err := t.ClaimsOfSubscription(ctx, sub)
		if err != nil {
			return Claim{}, err
		}
		h, ok := holderOf(all)
		if !ok {
			return Claim{}, fault.New(fault.Denied, "Confirm your own address first; then you can invite a colleague.")
		}
		return t.LockClaim(ctx, h.ID)
	})
}

func (s *Service) invite(ctx context.Context, address string, from func(context.Context, Tx, time.Time) (Claim, error)) error {
	address, err := ParseEmail(address)
	if err != nil {
		return err
	}
	err = s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		c, err := from(ctx, t, now)
		if err != nil {
			return err
		}
		if err := s.countMail(ctx, t, &c, now); err != nil {
			return err
		}
		if err := t.SaveClaim(ctx, c); err != nil {
			return err
		}
		token, err := s.openClaim(ctx, t, Claim{Subscription: c.Subscription, InvitedBy: c.ID})
		if err != nil {
			return err
		}
		if err := t.AddAudit(ctx, AuditEntry{At: now, Actor: string(c.ID), Action: "claim.invite", Subject: string(c.Subscription)}); err != nil {
			return err
		}
		return t.QueueMail(ctx, Mail{
			To: address, Kind: MailNetworkAdmin, About: string(c.ID), Link: "/claim/" + token, At: now,
			Subject: "A colleague asks you to set up a private network",
			Text:    "A colleague bought a private network on a cloud marketplace and asks you to set it up.\nThe link works for 24 hours. If you do not know what this is about, do nothing.",
		})
	})
	if err != nil {
		return fmt.Errorf("invite a colleague: %w", err)
	}
	return nil
}

func newToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
