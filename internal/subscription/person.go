package subscription

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// The answers a person gets, one per case, each saying what to do.

func errUnknownLink() error {
	return fault.New(fault.NotFound, "We do not know this link. Open it exactly as it is in the mail, or press “Set up your account” in the marketplace again; nothing was lost.")
}

func errExpiredLink() error {
	return fault.New(fault.Gone, "This link has expired. Press “Set up your account” in the marketplace again to get a fresh one; there is no need to subscribe again.")
}

func errSecondPerson(holder string) error {
	return fault.New(fault.Denied, "A colleague (%s) has set this purchase up already. Ask them to let you in or to send you an invitation. If you do not know them, ask us.", holder)
}

// ErrWrongAccount is for a session that asks for another purchase than its own.
func ErrWrongAccount() error {
	return fault.New(fault.Denied, "You are signed in for another purchase. Open the link of this purchase, or press “Set up your account” in the marketplace of the account that bought it.")
}

// ParseEmail takes one bare address: no display name, at most 254 bytes, a
// domain with a dot. Free-mail addresses are fine.
func ParseEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, "\"<> ") {
		return "", fault.New(fault.Invalid, "This is not an e-mail address we can write to; it should look like name@company.com.")
	}
	at := strings.LastIndexByte(s, '@')
	local, domain := s[:at], strings.ToLower(s[at+1:])
	if !strings.Contains(domain, ".") || strings.HasPrefix(domain, "[") || strings.HasSuffix(domain, ".") {
		return "", fault.New(fault.Invalid, "The part after the @ is not a public domain; please give your work address.")
	}
	return local + "@" + domain, nil
}

// MaskEmail shows enough for a colleague to recognise and too little to write to.
func MaskEmail(s string) string {
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return "a colleague"
	}
	r, n := utf8.DecodeRuneInString(local)
	if n == 0 || r == utf8.RuneError {
		return "…@" + domain
	}
	return string(r) + "…@" + domain
}

const maxName = 50

// CheckName reports what is wrong with a network's name.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fault.New(fault.Invalid, "A name has 1 to %d letters, digits, spaces, apostrophes or hyphens.", maxName)
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != ' ' && r != '\'' && r != '-' {
			return fault.New(fault.Invalid, "A name has letters, digits, spaces, apostrophes and hyphens; %q is none of them.", r)
		}
	}
	return nil
}

// Name gives the network the name the buyer chose. Nothing waits for it: the
// network is made under a suggested name, and the name is only for display, so
// it may be changed whenever the purchase is alive. The session that asks must
// be one of this purchase.
func (s *Service) Name(ctx context.Context, sub id.Subscription, actor, name string) error {
	name = strings.Join(strings.Fields(name), " ")
	if err := CheckName(name); err != nil {
		return err
	}
	err := s.store.SubscriptionTx(ctx, func(ctx context.Context, t Tx) error {
		now := s.now()
		got, err := t.LockSubscription(ctx, sub)
		if err != nil {
			return err
		}
		// Names of one customer are compared under the customer's lock.
		if _, err := t.EnsureCustomer(ctx, Customer{ID: got.Customer, Marketplace: got.Marketplace, Account: got.Account, CreatedAt: now}); err != nil {
			return err
		}
		switch got.State(now) {
		case StateEnding, StateEnded, StateRejected:
			return fault.New(fault.Conflict, "This purchase has ended; its network can no longer be named.")
		case StatePending, StateAwaitingBuyer, StateAwaitingMarketplace, StateProvisioning, StateActive, StateSuspended:
		}
		taken, err := s.names(ctx, t, got.Customer, got.TailnetOf)
		if err != nil {
			return err
		}
		if taken[strings.ToLower(name)] {
			return fault.New(fault.Conflict, "You have another network of this name; please choose a different one.")
		}
		if got.NameChosen && got.TailnetName == name {
			return nil
		}
		got.TailnetName, got.NameChosen = name, true
		if err := t.SaveSubscription(ctx, got); err != nil {
			return err
		}
		if err := t.AddAudit(ctx, AuditEntry{At: now, Actor: actor, Action: "tailnet.name", Subject: string(sub)}); err != nil {
			return err
		}
		if got.Facts.ReadyAt.IsZero() {
			return nil // provisioning reads the name when it runs
		}
		return t.Mark(ctx, DueProvision, string(sub), now)
	})
	if err != nil {
		return fmt.Errorf("name the network of %s: %w", sub, err)
	}
	return nil
}

// names are the lower-case names of a customer's living networks but one.
func (s *Service) names(ctx context.Context, t Tx, c id.Customer, but id.Subscription) (map[string]bool, error) {
	taken := map[string]bool{}
	for after := id.Subscription(""); ; {
		subs, err := t.SubscriptionsWhere(ctx, Filter{Customer: c, After: after, Limit: 500})
		if err != nil {
			return nil, err
		}
		for _, o := range subs {
			after = o.ID
			if o.TailnetOf != but && o.Facts.ClosedAt.IsZero() {
				taken[strings.ToLower(o.TailnetName)] = true
			}
		}
		if len(subs) < 500 {
			return taken, nil
		}
	}
}

// suggest is a name for a customer's next network: the end of the account's
// number tells two accounts of one company apart.
func (s *Service) suggest(ctx context.Context, t Tx, c Customer) (string, error) {
	taken, err := s.names(ctx, t, c.ID, "")
	if err != nil {
		return "", err
	}
	tail := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, c.Account)
	base := "Tailnet " + tail[max(0, len(tail)-4):]
	name := base
	for n := 2; taken[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name, nil
}

// FoldEmail is the form in which two spellings of one address are equal.
func FoldEmail(s string) string { return strings.ToLower(s) }
