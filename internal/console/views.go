package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Site is what every page knows of the seller.
type Site struct {
	Seller  string // shown in the header
	Support string // an e-mail address or an https address; empty: the listing's contact
}

func (s Site) seller() string {
	if s.Seller == "" {
		return "tailmarket"
	}
	return s.Seller
}

func (s Site) supportHref() string {
	switch {
	case strings.HasPrefix(s.Support, "https://"):
		return s.Support
	case strings.Contains(s.Support, "@"):
		return "mailto:" + s.Support
	}
	return ""
}

// Market is what a marketplace calls things in its own console.
type Market struct {
	Name    string
	Account string // what the buyer is signed in with there
	Menu    string // where purchases are
	Button  string // what leads from there to us
	Token   string // what proves the purchase
	Lives   string // for how long it does
}

// Claim is a buyer's visit.
type Claim struct {
	Site
	Token       string
	Product     string
	Marketplace string // its name for people
	Button      string // of the marketplace, which leads here
	State       string // of the subscription
	Holder      string // masked address of who set it up; "" when nobody did
	KnownAs     string // masked address of who came, whom the marketplace has proved; "" otherwise
	SignIn      bool   // the marketplace's sign-in can prove who came
	Trouble     Trouble
	Purchase    string // path of the purchase when this visit is confirmed already
	Error       string // about the form
	Email       string // as typed, to correct it
	Ask         bool   // who referred the buyer is not known from a link
	Answer      string // to that, as typed
	AnswerError string
	InviteError string
}

// Trouble is why a sign-in led back here.
type Trouble struct {
	Title, Text string
	Choose      bool // the next one asks for the account
	Mail        bool // an address is the way to go on
}

// MailSent is shown after an address was given, or a colleague was invited.
type MailSent struct {
	Site
	Token  string // to send again; empty after an invitation from the purchase page
	State  string
	Invite bool
	Held   bool   // no mail server is set: the seller passes the mail on
	Back   string // where to go on
}

// Confirm is the page behind a mailed link.
type Confirm struct {
	Site
	Token string
}

// StepState is how far one step is.
type StepState string

const (
	StepDone    StepState = "done"
	StepCurrent StepState = "current"
	StepTodo    StepState = "todo"
)

func (s StepState) words() string {
	switch s {
	case StepDone:
		return "done"
	case StepCurrent:
		return "now"
	}
	return "to do"
}

// Step is one line of the way to a working network.
type Step struct {
	Label string
	State StepState
}

// Person is a colleague who asks to be let in.
type Person struct{ Claim, Address string }

// Purchase is the page of one purchase.
type Purchase struct {
	Site
	ID          string
	State       string
	Product     string
	Marketplace string
	Account     string
	Steps       []Step
	Reason      string
	Waiting     string
	Act         string // buyer, marketplace, us, nobody
	Usually     string
	MayLeave    bool
	Closed      bool // it ended and took its network along
	EndsAt      time.Time
	Name        string
	NameChosen  bool
	NameTyped   string // what was refused
	NameError   string
	NoTraffic   bool // the embedded driver's tailnets carry none
	CanReveal   bool
	Revealed    bool
	CanAskKey   bool     // another key may be asked for
	Asking      []Person // who may be let in by this session
}

func (p Purchase) path(rest string) string { return "/purchases/" + p.ID + rest }

// alive reports that the purchase can still be named and shared.
func (p Purchase) alive() bool {
	switch p.State {
	case "ending", "ended", "rejected":
		return false
	}
	return true
}

// poll is how often the page looks again, in seconds.
func (p Purchase) poll() int {
	switch p.State {
	case "pending", "awaiting_buyer", "awaiting_marketplace", "provisioning":
		return 5
	case "active", "suspended", "ending":
		return 60
	}
	return 0
}

func (p Purchase) headline() string {
	switch p.State {
	case "pending", "awaiting_marketplace":
		return "Waiting for " + p.Marketplace
	case "awaiting_buyer":
		return "Confirm your e-mail address"
	case "provisioning":
		if p.held() {
			return "Your network is held back"
		}
		return "Setting up your network"
	case "active":
		return "Your network is ready"
	case "suspended":
		return "Your purchase is suspended"
	case "ending":
		return "Your purchase is ending"
	case "ended":
		return "Your purchase has ended"
	case "rejected":
		return p.Marketplace + " refused this purchase"
	}
	return "Your purchase"
}

func (p Purchase) actor() string {
	switch p.Act {
	case "buyer":
		return "You"
	case "marketplace":
		return p.Marketplace
	case "us":
		return "We do. There is nothing for you to do."
	}
	return "Nobody: all is done."
}

// held reports that something keeps the network from being set up.
func (p Purchase) held() bool { return p.State == "provisioning" && p.Reason != "" }

// tone colours the state: good, busy, attention, over.
func (p Purchase) tone() string {
	if p.held() {
		return "attention"
	}
	switch p.State {
	case "active":
		return "good"
	case "ended", "ending":
		return "over"
	case "suspended", "rejected":
		return "attention"
	}
	return "busy"
}

// word is the state for people; the page's data-state is the exact one.
func (p Purchase) word() string {
	if p.held() {
		return "held back"
	}
	switch p.State {
	case "pending", "awaiting_buyer", "awaiting_marketplace":
		return "waiting"
	case "provisioning":
		return "in progress"
	case "active":
		return "ready"
	}
	return p.State
}

// Shown is a short digest of all that the page shows; an equal one needs no new
// page.
func (p Purchase) Shown() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", p))
	return hex.EncodeToString(sum[:6])
}

// Invite asks for a colleague's address.
type Invite struct {
	Site
	Purchase string // id
	State    string
	Email    string
	Error    string
}

// Name changes a network's name.
type Name struct {
	Site
	Purchase string // id
	State    string
	Typed    string
	Error    string
}

// JoinKey is the one answer that shows the key.
type JoinKey struct {
	Site
	Purchase  string // id
	State     string
	Key       string
	Command   string // the exact command to run
	NoTraffic bool
}

// Notice is a page that says what is wrong and what to do.
type Notice struct {
	Site
	Status    int
	Title     string
	Text      string
	Todo      []string // steps, in order
	LinkText  string   // one way on
	LinkHref  string
	RequestID string
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2 Jan 2006 15:04 UTC")
}

func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// sentence makes a reason a sentence of its own.
func sentence(s string) string {
	if s = capital(s); s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func usually(s string) string {
	if strings.HasPrefix(s, "until ") || strings.Contains(s, ";") {
		return capital(s)
	}
	return "Usually " + s
}
