package httpapi_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// words by which a page names a marketplace, its vendor, or an address of theirs.
var words = map[marketplace.ID]*regexp.Regexp{
	marketplace.AWS:   regexp.MustCompile(`(?i)\baws|amazon|amzn`),
	marketplace.GCP:   regexp.MustCompile(`(?i)google|\bgcp\b|\bgcloud`),
	marketplace.Azure: regexp.MustCompile(`(?i)azure|microsoft|\bentra\b|office\.com|live\.com`),
}

var links = regexp.MustCompile(`(?:href|src|action|hx-get)="([^"]*)"`)

// states are facts of a purchase in every state.
func states(of marketplace.ID) map[subscription.State]subscription.Facts {
	with := func(change func(*subscription.Facts)) subscription.Facts {
		f := granted().Facts
		f.Marketplace, f.ConfirmedAt = of, now
		change(&f)
		return f
	}
	end := func(reason string, closed time.Time) func(*subscription.Facts) {
		return func(f *subscription.Facts) {
			f.Ends, f.ClosedAt = []subscription.End{{At: now.Add(-time.Hour), Reason: reason}}, closed
		}
	}
	return map[subscription.State]subscription.Facts{
		subscription.StatePending: with(func(f *subscription.Facts) { f.ClaimedAt, f.Granted, f.ReadyAt = time.Time{}, time.Time{}, time.Time{} }),
		subscription.StateAwaitingBuyer: with(func(f *subscription.Facts) {
			f.ClaimedAt, f.ReadyAt = time.Time{}, time.Time{}
			if of == marketplace.Azure { // bought, and waits for us to activate
				f.Granted, f.Seen.Awaits = time.Time{}, marketplace.Activate
			}
		}),
		subscription.StateAwaitingMarketplace: with(func(f *subscription.Facts) { f.Granted, f.ReadyAt = time.Time{}, time.Time{} }),
		subscription.StateProvisioning:        with(func(f *subscription.Facts) { f.ReadyAt = time.Time{} }),
		subscription.StateActive:              with(func(*subscription.Facts) {}),
		subscription.StateSuspended:           with(func(f *subscription.Facts) { f.Pause = subscription.Switch{On: true, Version: now} }),
		subscription.StateEnding:              with(end("TERMINATED", time.Time{})),
		subscription.StateEnded:               with(end("CANCELLED", now)),
		subscription.StateRejected:            with(func(f *subscription.Facts) { f.Granted, f.ReadyAt, f.Denied = time.Time{}, time.Time{}, now }),
	}
}

// TestPagesOfAPurchaseNameOneMarketplace walks every page that a buyer can come to, on
// a server that sells everywhere: a listing's rules let it lead to no other one, and a
// buyer has no use for the words of a marketplace where nothing was bought.
func TestPagesOfAPurchaseNameOneMarketplace(t *testing.T) {
	t.Parallel()
	for of := range words {
		t.Run(string(of), func(t *testing.T) {
			t.Parallel()
			w := setup(t, signingIn(t))
			pages, named := map[string]bool{}, 0
			check := func(what string, r reply) {
				t.Helper()
				pages[what] = true
				text := r.body + " " + r.Header.Get("Location")
				for other, pattern := range words {
					found := pattern.FindString(text)
					if other == of && found != "" {
						named++
					}
					if other != of && found != "" {
						at := strings.Index(text, found)
						t.Errorf("%s says %q: …%s…", what, found, text[max(0, at-80):min(len(text), at+80)])
					}
				}
				for _, link := range links.FindAllStringSubmatch(r.body, -1) {
					u, err := url.Parse(link[1])
					if err != nil || u.Host != "" || u.Scheme != "" && u.Scheme != "mailto" {
						t.Errorf("%s leads away, to %q", what, link[1])
					}
				}
			}
			w.purchase.Marketplace = of
			w.visit.Subscription.Marketplace = of
			w.visit.SignIn = of == marketplace.Azure
			w.people = []subscription.Claim{{ID: "clm_1", State: subscription.ClaimHolder}, {ID: "clm_2", State: subscription.ClaimSecond, Email: "b…@company.example"}}
			stranger := w.browser(t)

			door, field := "/"+string(of)+"/register", map[marketplace.ID]string{marketplace.AWS: "x-amzn-marketplace-token", marketplace.GCP: "x-gcp-marketplace-token", marketplace.Azure: "token"}[of]
			check("a plain visit", stranger.get(door))
			for _, class := range []fault.Class{fault.Invalid, fault.Denied, fault.NotFound, fault.Gone, fault.Throttled, fault.Unavailable, fault.Unsure, ""} {
				w.arrive = fault.New(class, "It was not taken.")
				for _, token := range []string{"", "t"} {
					r := stranger.get(door + "?" + url.Values{field: {token}}.Encode())
					if of != marketplace.Azure {
						r = stranger.post(door, url.Values{field: {token}})
					}
					check("an arrival, "+string(class), r)
				}
			}

			// Claims: every state of the visit, every way on, every trouble.
			for _, state := range []subscription.ClaimState{subscription.ClaimOpen, subscription.ClaimMailed, subscription.ClaimHolder, subscription.ClaimAdmitted, subscription.ClaimSecond} {
				for _, holder := range []string{"", "a…@company.example"} {
					for _, known := range []string{"", "c…@company.example"} {
						w.visit.Claim.State, w.visit.Holder, w.visit.Known, w.visit.KnownAs = state, holder, known != "", known
						for _, trouble := range []string{"", "declined", "consent", "late", "unproved", "away", "broken", "other", "address"} {
							check("a claim, "+trouble, stranger.get("/claim/x?sign-in="+trouble))
						}
						check("mail sent", stranger.get("/claim/x/sent"))
						check("invitation sent", stranger.get("/claim/x/sent?to=colleague"))
					}
				}
			}
			w.emailErr = fault.New(fault.Invalid, "That is not an address.")
			check("a bad address", stranger.post("/claim/x/email", url.Values{"email": {"x"}}))
			check("a bad invitation", stranger.post("/claim/x/invite", url.Values{"email": {"x"}}))
			check("to confirm", stranger.get("/verify/"+goodMail))
			for _, class := range []fault.Class{fault.NotFound, fault.Gone, fault.Conflict, fault.Denied, fault.Throttled, fault.Unavailable, ""} {
				broken := fault.New(class, "It does not work.")
				w.visitErr, w.emailErr, w.linkErr, w.confErr, w.signErr = broken, broken, broken, broken, broken
				check("a bad claim, "+string(class), stranger.get("/claim/x"))
				check("a bad link, "+string(class), stranger.get("/verify/x"))
				check("a refused mail, "+string(class), stranger.post("/claim/x/email", url.Values{"email": {"x"}}))
				check("a refused confirmation, "+string(class), stranger.post("/verify/"+goodMail, nil))
				w.confirm.State = subscription.ClaimSecond
				check("a second person, "+string(class), stranger.post("/verify/"+goodMail, nil))
				check("a known second person, "+string(class), stranger.post("/claim/x/continue", nil))
				w.confirm.State = subscription.ClaimHolder
			}
			w.visitErr, w.emailErr, w.linkErr, w.confErr, w.signErr = nil, nil, nil, nil, nil
			if of == marketplace.Azure {
				check("a lost sign-in", stranger.get(httpapi.SignedInPath+"?state=x&code=y"))
			}

			// The purchase in every state, what its page leads to, and what its forms answer.
			owner := w.signedIn(t)
			for state, facts := range states(of) {
				w.purchase.Facts = facts
				for _, view := range []provisioning.View{w.view, {WaitingFor: "the control plane's quota is used up"}, {KeyReady: true, Dry: true}, {KeyRevealed: true, CanAskKey: true}} {
					w.view, w.revErr = view, nil
					r := owner.get("/purchases/" + sub)
					if !strings.Contains(r.body, `data-state="`+string(state)+`"`) {
						t.Errorf("%s is shown as another state:\n%s", state, r.body)
					}
					check("a purchase, "+string(state), r)
					for _, link := range links.FindAllStringSubmatch(r.body, -1) {
						if strings.HasPrefix(link[1], "/purchases/") {
							check("from "+string(state)+" to "+link[1], owner.get(link[1]))
						}
					}
					check("the key", owner.post("/purchases/"+sub+"/reveal", nil))
					check("the key again", owner.post("/purchases/"+sub+"/reveal", nil))
					check("a name", owner.post("/purchases/"+sub+"/name", url.Values{"tailnet_name": {"Acme"}}))
				}
			}
			check("another purchase", owner.get("/purchases/"+other))
			check("nobody signed in", stranger.get("/purchases/"+sub))
			check("no page", stranger.get("/nowhere"))
			check("the front page", stranger.get("/"))
			if named < 20 || len(pages) < 60 {
				t.Errorf("only %d pages were walked, and %d name the marketplace: the test looks in the wrong place", len(pages), named)
			}
		})
	}
}
