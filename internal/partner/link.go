package partner

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// LinkLife is how long after following a link a purchase counts as its fruit.
const LinkLife = 90 * 24 * time.Hour

// early is how far ahead of our clock another replica's may be.
const early = 5 * time.Minute

const macLen = 16 // bytes of a tag; nobody guesses 128 bits

// Followed is what following a link leads to: the listing, and what the buyer's
// browser keeps.
type Followed struct {
	Listing string
	Link    id.Link
	Value   string // of the cookie: signed, and names nobody
}

func errUnknownLink() error {
	return fault.New(fault.NotFound, "We do not know this link. It may be incomplete; ask whoever gave it to you.")
}

// token is a link's secret part: its id and our tag over it.
func (s *Service) token(l id.Link) (string, error) { return s.signed("link", string(l)) }

func (s *Service) signed(what, text string) (string, error) {
	mac, err := s.Store.SignReferral(what + "\n" + text)
	if err != nil {
		return "", fmt.Errorf("sign a referral %s: %w", what, err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(mac[:macLen]), nil
}

// opened is the text of what signed made; false for anything else.
func (s *Service) opened(what, token string) (string, bool, error) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || len(token) > 200 {
		return "", false, nil
	}
	want, err := s.signed(what, token[:at])
	return token[:at], err == nil && hmac.Equal([]byte(want), []byte(token)), err
}

// Follow takes a visit of a referral link. Nothing is stored: a preview of the
// link, or a visit that buys nothing, leaves no trace. NotFound: not one of ours.
func (s *Service) Follow(ctx context.Context, token string) (Followed, error) {
	text, ok, err := s.opened("link", token)
	if err != nil {
		return Followed{}, err
	}
	if !ok {
		return Followed{}, errUnknownLink()
	}
	l, ok, err := s.Store.FindLink(ctx, id.Link(text))
	if err != nil {
		return Followed{}, fmt.Errorf("follow a referral link: %w", err)
	}
	if !ok {
		return Followed{}, errUnknownLink()
	}
	listing, ok := s.Listing(l.Marketplace, l.Product)
	if !ok {
		return Followed{}, fault.New(fault.Unavailable, "The listing behind this link is not open right now. Please try again later, or ask the seller.")
	}
	value, err := s.signed("visit", string(l.ID)+"."+strconv.FormatInt(s.Now().Unix(), 36))
	return Followed{Listing: listing, Link: l.ID, Value: value}, err
}

// visit reads a cookie's value; false when it is none of ours or too old.
func (s *Service) visit(value string) (link id.Link, at time.Time, ok bool, err error) {
	text, ok, err := s.opened("visit", value)
	if !ok || err != nil {
		return "", time.Time{}, false, err
	}
	l, stamp, _ := strings.Cut(text, ".")
	sec, perr := strconv.ParseInt(stamp, 36, 64)
	at = time.Unix(sec, 0).UTC()
	now := s.Now()
	return id.Link(l), at, perr == nil && !at.After(now.Add(early)) && now.Sub(at) < LinkLife, nil
}
