package id

import (
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// The kinds of ids; the compiler keeps them apart.
type (
	Customer     string
	Subscription string
	Claim        string
	Delivery     string
	Event        string
	UsageEvent   string
	Record       string
	Attempt      string
	Entry        string
	Tailnet      string
	Partner      string
	Touch        string
	Finding      string
	Message      string
	Link         string
	APIKey       string
)

var base = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func fresh(prefix string) string {
	u := uuid.Must(uuid.NewV7())
	return prefix + "_" + base.EncodeToString(u[:])
}

func NewCustomer() Customer         { return Customer(fresh("cus")) }
func NewSubscription() Subscription { return Subscription(fresh("sub")) }
func NewClaim() Claim               { return Claim(fresh("clm")) }
func NewDelivery() Delivery         { return Delivery(fresh("dlv")) }
func NewEvent() Event               { return Event(fresh("evt")) }
func NewUsageEvent() UsageEvent     { return UsageEvent(fresh("uev")) }
func NewRecord() Record             { return Record(fresh("rec")) }
func NewAttempt() Attempt           { return Attempt(fresh("att")) }
func NewEntry() Entry               { return Entry(fresh("ent")) }
func NewTailnet() Tailnet           { return Tailnet(fresh("tnt")) }
func NewPartner() Partner           { return Partner(fresh("prt")) }
func NewTouch() Touch               { return Touch(fresh("tch")) }
func NewFinding() Finding           { return Finding(fresh("fnd")) }
func NewMessage() Message           { return Message(fresh("msg")) }
func NewLink() Link                 { return Link(fresh("lnk")) }
func NewAPIKey() APIKey             { return APIKey(fresh("key")) }

// Check reports whether s is an id with the given prefix, as made here.
func Check(prefix, s string) error {
	rest, ok := strings.CutPrefix(s, prefix+"_")
	if !ok {
		return fmt.Errorf("id %q does not start with %q", s, prefix+"_")
	}
	if b, err := base.DecodeString(rest); err != nil || len(b) != 16 {
		return fmt.Errorf("id %q is not a %s id", s, prefix)
	}
	return nil
}
