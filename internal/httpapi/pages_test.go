package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

func TestABuyerGoesFromTheMailToTheKey(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.browser(t)
	r := b.post("/claim/claim-token/email", url.Values{"email": {"ana@company.example"}})
	if r.StatusCode != http.StatusOK || r.Request.URL.Path != "/claim/claim-token/sent" || w.emails[0] != "ana@company.example" {
		t.Fatalf("giving an address ended at %s with %d", r.Request.URL, r.StatusCode)
	}
	if strings.Contains(r.body, "ana@") {
		t.Error("the page repeats the address to whoever has the link")
	}
	if r = b.get("/verify/" + goodMail); !strings.Contains(r.body, `data-step="confirm"`) {
		t.Fatalf("the mail's link has no button: %s", r.body)
	}
	r = b.post("/verify/"+goodMail, nil)
	if r.Request.URL.Path != "/purchases/"+sub || !strings.Contains(r.body, `data-state="active"`) || !strings.Contains(r.body, `data-step="reveal"`) || !strings.Contains(r.body, `data-step="name"`) {
		t.Fatalf("confirming ended at %s:\n%s", r.Request.URL, r.body)
	}
	if !strings.Contains(r.body, "carries no traffic") {
		t.Error("the page does not say that the network carries no traffic")
	}
	if r = b.post("/purchases/"+sub+"/name", url.Values{"tailnet_name": {"Acme"}}); r.Request.Method != http.MethodGet || w.names[0] != "Acme by clm_1" {
		t.Fatalf("naming: %s %v", r.Request.Method, w.names)
	}
	r = b.post("/purchases/"+sub+"/reveal", nil)
	if !strings.Contains(r.body, `<code id="join-key">`+w.key+`</code>`) || !strings.Contains(r.body, "tailscale up --auth-key="+w.key) || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("revealing answered %d: %s", r.StatusCode, r.body)
	}
	if r = b.post("/purchases/"+sub+"/reveal", nil); r.StatusCode != http.StatusGone || strings.Contains(r.body, w.key) || !strings.Contains(r.body, "The join key was shown already") {
		t.Fatalf("revealing again answered %d", r.StatusCode)
	}
	if r = b.get("/purchases/" + sub); strings.Contains(r.body, w.key) || strings.Contains(r.body, `data-step="reveal"`) || !strings.Contains(r.body, "Make a new key") {
		t.Fatalf("after the reveal the page shows %s", r.body)
	}
	if b.post("/purchases/"+sub+"/new-key", nil); w.newKeys != 1 {
		t.Error("no new key was asked for")
	}
}

func TestTheSessionsCookieIsGuarded(t *testing.T) {
	t.Parallel()
	for base, secure := range map[string]bool{"http://sell.example": false, "https://sell.example/": true} {
		w := setup(t, func(o *httpapi.Options) { o.Base = base })
		b := w.browser(t)
		b.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r := b.post("/verify/"+goodMail, nil)
		if len(r.Cookies()) != 1 {
			t.Fatalf("%d cookies", len(r.Cookies()))
		}
		k := r.Cookies()[0]
		if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Secure != secure || k.Path != "/purchases" || len(k.Value) < 43 {
			t.Errorf("%s: %+v", base, k)
		}
	}
}

func TestAPurchaseOpensOnlyInItsSession(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stranger, owner := w.browser(t), w.signedIn(t)
	forged := w.browser(t)
	u, _ := url.Parse(w.server.URL)
	forged.c.Jar.SetCookies(u, []*http.Cookie{{Name: "tm_purchase_" + sub[len(sub)-10:], Value: "guess", Path: "/"}})
	for _, c := range []struct {
		who    *browser
		path   string
		status int
		says   string
	}{
		{stranger, "/purchases/" + sub, 401, "Nobody is signed in here"},
		{forged, "/purchases/" + sub, 403, "This page is of another purchase"},
		{owner, "/purchases/" + other, 403, "This page is of another purchase"},
		{owner, "/purchases/" + sub, 200, "Your network is ready"},
	} {
		if r := c.who.get(c.path); r.StatusCode != c.status || !strings.Contains(r.body, c.says) {
			t.Errorf("%s answered %d, want %d with %q:\n%s", c.path, r.StatusCode, c.status, c.says, r.body)
		}
		if c.status != 200 {
			if r := c.who.post(c.path+"/reveal", nil); r.StatusCode != c.status || strings.Contains(r.body, w.key) {
				t.Errorf("reveal at %s answered %d", c.path, r.StatusCode)
			}
		}
	}
}

func TestEveryBadLinkHasAPageThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*world)
		path   string
		post   bool
		status int
		says   string
	}{
		"unknown claim":         {func(w *world) { w.visitErr = fault.New(fault.NotFound, "unknown") }, "/claim/x", false, 404, "We do not know this link"},
		"expired claim":         {func(w *world) { w.visitErr = fault.New(fault.Gone, "expired") }, "/claim/x", false, 410, "This link has expired"},
		"spent claim":           {func(w *world) { w.emailErr = fault.New(fault.Conflict, "confirmed") }, "/claim/x/email", true, 409, "This visit is confirmed already"},
		"too many mails":        {func(w *world) { w.emailErr = fault.New(fault.Throttled, "come back tomorrow") }, "/claim/x/email", true, 429, "Come back tomorrow."},
		"no address":            {func(w *world) { w.emailErr = fault.New(fault.Invalid, "This is not an e-mail address") }, "/claim/x/email", true, 400, "This is not an e-mail address"},
		"already claimed":       {func(w *world) { w.visit.Holder = "a…@company.example" }, "/claim/x", false, 200, "a…@company.example"},
		"claimed by this visit": {func(w *world) { w.visit.Claim.State = subscription.ClaimHolder }, "/claim/x", false, 200, "Open the purchase"},
		"unknown mail link":     {func(*world) {}, "/verify/x", true, 404, "We do not know this link"},
		"second person": {func(w *world) {
			w.confirm.State, w.confErr = subscription.ClaimSecond, fault.New(fault.Denied, "A colleague (a…@company.example) has set this purchase up already.")
		}, "/verify/" + goodMail, true, 403, "Ask your colleague"},
		"another address":  {func(w *world) { w.confErr = fault.New(fault.Denied, "confirmed with another address") }, "/verify/" + goodMail, true, 403, "This link belongs to another address"},
		"unknown page":     {func(*world) {}, "/nowhere", false, 404, "There is no such page"},
		"no operator":      {func(*world) {}, "/operator", false, 401, "Operators only"},
		"spent enter link": {func(*world) {}, "/operator/enter/x", true, 410, "This sign-in link is used up"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			c.change(w)
			b := w.browser(t)
			var r reply
			if c.post {
				r = b.post(c.path, url.Values{"email": {"x"}})
			} else {
				r = b.get(c.path)
			}
			if r.StatusCode != c.status || !strings.Contains(r.body, c.says) || !strings.Contains(r.body, "<h1>") {
				t.Fatalf("answered %d, want %d with %q:\n%s", r.StatusCode, c.status, c.says, r.body)
			}
			if len(r.Cookies()) != 0 {
				t.Error("a session was started")
			}
		})
	}
}

func TestARefusedNameStaysInTheForm(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.signedIn(t)
	w.nameErr = fault.New(fault.Conflict, "You have another network of this name.")
	r := b.post("/purchases/"+sub+"/name", url.Values{"tailnet_name": {"Acme <b>"}})
	if r.StatusCode != http.StatusConflict || !strings.Contains(r.body, "another network of this name") || !strings.Contains(r.body, `value="Acme &lt;b&gt;"`) || !strings.Contains(r.body, `data-step="name"`) {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
}

func TestTheStatusSaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*world)
		state  string
		says   []string
	}{
		"the marketplace": {func(w *world) { w.purchase.Facts.Granted = time.Time{} }, "awaiting_marketplace", []string{"AWS Marketplace to confirm the purchase", "One to five minutes; up to an hour when AWS Marketplace is slow", "You may close this page"}},
		"us": {func(w *world) {
			w.purchase.Facts.ReadyAt = time.Time{}
			w.view = provisioning.View{WaitingFor: "the control plane makes the network", Usually: 10 * time.Second}
		}, "provisioning", []string{"Your network to be set up", "Usually under a minute", "nothing for you to do"}},
		"a person": {func(w *world) {
			w.purchase.Facts.ReadyAt = time.Time{}
			w.view = provisioning.View{WaitingFor: "the control plane's quota is used up"}
		}, "provisioning", []string{"held back", "a person on our side", "one working day", "nothing for you to do"}},
		"the seller": {func(w *world) {
			w.purchase.Facts.ReadyAt, w.purchase.Facts.LiveFrom = time.Time{}, time.Time{}
		}, "provisioning", []string{"not open yet", "held back"}},
		"nobody": {func(*world) {}, "active", []string{"Your network is ready"}},
		"nothing any more": {func(w *world) {
			w.purchase.Facts.Ends = []subscription.End{{At: now.Add(-time.Hour), Reason: "CANCELLED"}}
			w.purchase.Facts.ClosedAt = now
		}, "ended", []string{"It was cancelled in AWS Marketplace.", "subscribe again in AWS Marketplace"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			c.change(w)
			r := w.signedIn(t).get("/purchases/" + sub)
			if !strings.Contains(r.body, `data-state="`+c.state+`"`) {
				t.Errorf("not %s:\n%s", c.state, r.body)
			}
			for _, text := range c.says {
				if !strings.Contains(r.body, text) {
					t.Errorf("the page does not say %q:\n%s", text, r.body)
				}
			}
		})
	}
}

// Codes of a marketplace and words of the control plane stay out of a buyer's page.
func TestTheStatusIsInPlainWords(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"CANCELLED", "EXPIRED", "TERMINATED", "DEPROVISIONED"} {
		w := setup(t)
		w.purchase.Facts.Ends = []subscription.End{{At: now.Add(-time.Hour), Reason: code}}
		w.view = provisioning.View{WaitingFor: "the control plane's quota is used up"}
		r := w.signedIn(t).get("/purchases/" + sub)
		if !strings.Contains(r.body, "Your purchase is ending") && !strings.Contains(r.body, "Your purchase has ended") {
			t.Fatalf("%s answered %d: %s", code, r.StatusCode, r.body)
		}
		for _, jargon := range []string{code, "control plane", "the marketplace"} {
			if strings.Contains(r.body, jargon) {
				t.Errorf("%s: the page says %q", code, jargon)
			}
		}
	}
}

// The page asks with what it shows: nothing comes back until that changed.
func TestAnUnchangedStatusIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.signedIn(t)
	poll := regexp.MustCompile(`hx-get="([^"]+)"`)
	first := poll.FindStringSubmatch(b.get("/purchases/" + sub).body)
	if len(first) != 2 {
		t.Fatal("the page does not look again")
	}
	if r := b.get(first[1], "HX-Request", "true"); r.StatusCode != http.StatusNoContent || r.body != "" {
		t.Errorf("unchanged, and answered %d: %s", r.StatusCode, r.body)
	}
	if r := b.get(first[1]); r.StatusCode != http.StatusOK {
		t.Errorf("a person who opens the address is answered %d", r.StatusCode)
	}
	w.people = []subscription.Claim{{ID: "clm_1", State: subscription.ClaimHolder}, {ID: "clm_2", State: subscription.ClaimSecond, Email: "b…@company.example"}}
	if r := b.get(first[1], "HX-Request", "true"); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `id="asks"`) || !strings.Contains(r.body, "Let them in") {
		t.Errorf("a colleague asks, and the page is answered %d: %s", r.StatusCode, r.body)
	}
}

// A person who presses enter in the address bar, where a form was sent to, comes
// to the page it was on.
func TestTheAddressOfASentFormLeadsBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.signedIn(t)
	for path, page := range map[string]string{"/claim/x/email": "/claim/x", "/claim/x/invite": "/claim/x", "/purchases/" + sub + "/reveal": "/purchases/" + sub} {
		if r := b.get(path); r.StatusCode != http.StatusOK || r.Request.URL.Path != page {
			t.Errorf("%s led to %s, %d", path, r.Request.URL, r.StatusCode)
		}
	}
	if !w.view.KeyReady {
		t.Error("looking at the address took the key")
	}
}

func TestOnlyTheHolderLetsOthersIn(t *testing.T) {
	t.Parallel()
	for actor, want := range map[string]int{"clm_1": 1, "clm_9": 0} {
		w := setup(t)
		w.people = []subscription.Claim{{ID: "clm_1", State: subscription.ClaimHolder}, {ID: "clm_2", State: subscription.ClaimSecond, Email: "b…@company.example"}}
		w.confirm.Claim = "clm_1"
		if actor != "clm_1" {
			w.confirm.Claim, w.confirm.State = "clm_9", subscription.ClaimAdmitted
		}
		b := w.signedIn(t)
		if shown := strings.Contains(b.get("/purchases/"+sub).body, "Let them in"); shown != (want == 1) {
			t.Errorf("%s sees the button: %v", actor, shown)
		}
		b.post("/purchases/"+sub+"/admit", url.Values{"claim": {"clm_2"}})
		b.post("/purchases/"+sub+"/admit", url.Values{"claim": {"clm_7"}})
		if len(w.admitted) != want {
			t.Errorf("%s admitted %v", actor, w.admitted)
		}
	}
}

func TestAnInvitationIsSent(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.signedIn(t)
	for path, says := range map[string]string{"/claim/x/invite": "A link is on its way to your colleague", "/purchases/" + sub + "/invite": "A link is on its way to your colleague"} {
		if r := b.post(path, url.Values{"email": {"admin@company.example"}}); r.StatusCode != http.StatusOK || !strings.Contains(r.body, says) {
			t.Errorf("%s answered %d: %s", path, r.StatusCode, r.body)
		}
	}
	if len(w.invited) != 2 {
		t.Errorf("invited %v", w.invited)
	}
	if r := b.get("/purchases/" + sub + "/invite"); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `name="email"`) {
		t.Errorf("the form: %d", r.StatusCode)
	}
}

func TestFormsOfOtherSitesDoNothing(t *testing.T) {
	t.Parallel()
	w := setup(t)
	owner, operator := w.signedIn(t), w.operator(t)
	for path, b := range map[string]*browser{
		"/purchases/" + sub + "/reveal": owner, "/purchases/" + sub + "/name": owner, "/claim/x/email": owner, "/verify/" + goodMail: owner,
		"/operator/quarantine/deliveries/dlv_1/replay": operator, "/operator/leave": operator,
	} {
		r := b.post(path, url.Values{"email": {"x"}, "tailnet_name": {"x"}}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
		if r.StatusCode != http.StatusForbidden || !strings.Contains(r.body, "another site") {
			t.Errorf("%s answered %d", path, r.StatusCode)
		}
	}
	if len(w.names)+len(w.emails)+len(w.replays) != 0 || w.revErr != nil {
		t.Error("a forged form did something")
	}
}

func TestTheOperatorSeesAndReplays(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.kept = []intake.Kept{{ID: "dlv_1", Marketplace: "aws", Kind: "Purchase Agreement Created", Reason: "no such product", ReceivedAt: now}}
	w.quarantined = []billing.Quarantined{{Ident: billing.IdentOf("s", "1"), Reason: billing.UnknownMeter, Event: billing.UsageEvent{Source: "s", ID: "1", Quantity: "3", Meter: "m"}, ReceivedAt: now}}
	w.mails = []notify.Entry{{Mail: notify.Mail{ID: "msg_1", Address: "ana@company.example", Subject: "Confirm", Link: "/verify/tok", At: now}, State: notify.Held}}
	w.stuck = []httpapi.StuckRow{{Kind: "submit", Subject: "aws", Error: "the marketplace does not answer", Attempts: 4}}
	b := w.operator(t)
	for path, says := range map[string]string{"/operator": "The marketplace does not answer.", "/operator/outbox": "ana@company.example", "/operator/quarantine": "No such product."} {
		if r := b.get(path); r.StatusCode != http.StatusOK || !strings.Contains(r.body, says) || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s answered %d without %q", path, r.StatusCode, says)
		}
	}
	for _, path := range []string{"/operator/quarantine/deliveries/dlv_1/replay", fmt.Sprintf("/operator/quarantine/usage/%x/replay", billing.IdentOf("s", "1"))} {
		if r := b.post(path, nil); r.StatusCode != http.StatusOK || !strings.Contains(r.body, "read again and applied") {
			t.Errorf("%s answered %d: %s", path, r.StatusCode, r.body)
		}
	}
	if len(w.replays) != 1 || w.replays[0] != "dlv_1 by operator" {
		t.Errorf("replays %v", w.replays)
	}
	w.err = fault.New(fault.Unreadable, "The product is still unknown.")
	if r := b.post("/operator/quarantine/deliveries/dlv_1/replay", nil); r.StatusCode != http.StatusBadRequest || !strings.Contains(r.body, "The product is still unknown.") {
		t.Errorf("a failed replay answered %d: %s", r.StatusCode, r.body)
	}
	if r := b.post("/operator/leave", nil); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("after leaving: %d", r.StatusCode)
	}
}

func TestAnOperatorsLinkWorksOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	path, err := w.ids.OperatorLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := w.browser(t)
	for range 2 { // a preview does not spend it
		if r := b.get(path); r.StatusCode != http.StatusOK {
			t.Fatalf("the page answered %d", r.StatusCode)
		}
	}
	if r := b.post(path, nil); r.StatusCode != http.StatusOK {
		t.Fatalf("the first use answered %d", r.StatusCode)
	}
	if r := w.browser(t).post(path, nil); r.StatusCode != http.StatusGone {
		t.Fatalf("the second use answered %d", r.StatusCode)
	}
}
