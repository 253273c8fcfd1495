package console_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/net/html"

	"github.com/tailmarket/tailmarket/internal/console"
)

var (
	at     = time.Date(2026, 11, 3, 7, 30, 0, 0, time.UTC)
	site   = console.Site{Seller: "Acme Networks", Support: "help@acme.example"}
	market = console.Market{Name: "AWS Marketplace", Account: "AWS account", Menu: "AWS Marketplace › Manage subscriptions", Button: "Set up your account", Token: "registration token", Lives: "a few hours"}
)

const hostile = `"><script>alert(1)</script>`

// pages are all pages: with nothing to show, with one thing, with many.
func pages() map[string]templ.Component {
	out := map[string]templ.Component{
		"help":             console.HelpPage(site, market, ""),
		"help, no support": console.HelpPage(console.Site{}, market, "no token came"),
		"confirm":          console.ConfirmPage(console.Confirm{Site: site, Token: "t"}),
		"enter":            console.EnterPage(site, "t"),
		"notice":           console.NoticePage(console.Notice{Site: site, Title: "Expired", Text: "It expired.", Todo: []string{"one", "two"}, LinkText: "Back", LinkHref: "/x", RequestID: "req_1"}),
		"notice, bare":     console.NoticePage(console.Notice{Title: "Gone"}),
		"name":             console.NamePage(console.Name{Site: site, Purchase: "sub_1", Typed: hostile, Error: "taken"}),
		"invite":           console.InvitePage(console.Invite{Site: site, Purchase: "sub_1", Email: hostile, Error: "bad"}),
		"join key":         console.JoinKeyPage(console.JoinKey{Site: site, Purchase: "sub_1", State: "active", Key: "tskey-1", Command: "tailscale up", NoTraffic: true}),
		"join key, bare":   console.JoinKeyPage(console.JoinKey{Key: "tskey-1"}),
		"sent":             console.MailSentPage(console.MailSent{Site: site, Token: "t", State: "pending", Held: true}),
		"sent, invitation": console.MailSentPage(console.MailSent{Site: site, Invite: true, Back: "/x"}),
		"claim":            console.ClaimPage(console.Claim{Site: site, Token: "t", Product: "Tailnet", Marketplace: "AWS Marketplace", State: "pending"}),
		"claim, errors":    console.ClaimPage(console.Claim{Token: "t", Email: hostile, Error: "bad", InviteError: "bad"}),
		"claim, asked":     console.ClaimPage(console.Claim{Token: "t", Ask: true}),
		"claim, answered":  console.ClaimPage(console.Claim{Token: "t", Ask: true, Answer: hostile, AnswerError: "bad"}),
		"already claimed":  console.AlreadyClaimedPage(console.Claim{Site: site, Token: "t", Holder: "a…@b.example"}),
		"claimed by this":  console.AlreadyClaimedPage(console.Claim{Site: site, Token: "t", Purchase: "/purchases/sub_1"}),
	}
	for _, state := range []string{"pending", "awaiting_buyer", "awaiting_marketplace", "provisioning", "active", "suspended", "ending", "ended", "rejected", ""} {
		for _, act := range []string{"buyer", "marketplace", "us", "nobody"} {
			p := console.Purchase{Site: site, ID: "sub_1", State: state, Product: "Tailnet", Marketplace: "AWS Marketplace", Act: act, Name: hostile}
			out["purchase, bare, "+state+act] = console.PurchasePage(p)
			p.Reason, p.Waiting, p.Usually, p.MayLeave, p.EndsAt, p.NameChosen = "held back", "something", "until tomorrow", true, at, true
			p.NoTraffic, p.CanReveal = true, true
			p.Steps = []console.Step{{Label: "one", State: console.StepDone}, {Label: "two", State: console.StepCurrent}, {Label: "three", State: console.StepTodo}}
			p.Asking = []console.Person{{Claim: "clm_1", Address: "a…@b.example"}, {Claim: "clm_2", Address: hostile}}
			out["purchase, full, "+state+act] = console.PurchasePage(p)
			p.CanReveal, p.Revealed, p.CanAskKey = false, true, true
			out["purchase, revealed, "+state+act] = console.PurchasePage(p)
		}
	}
	for _, n := range []int{0, 1, 60} {
		channels := console.Channels{Site: site, More: n > 1}
		box, q := console.Outbox{Site: site, Sends: n == 1}, console.Quarantine{Site: site}
		for i := range n {
			channels.Rows = append(channels.Rows, console.ChannelRow{Channel: hostile, Route: hostile, Partner: hostile, Customers: i, Revenue: []string{"", "1.25"}[i%2], Currency: "USD", Open: i == 0})
			channels.Customers = append(channels.Customers, console.ChannelCustomer{ID: fmt.Sprint("cus_", i), Account: hostile, Partner: []string{"", hostile}[i%2], SourceEvidence: hostile, Unknown: []string{hostile}})
			channels.Only = hostile
			box.Mails = append(box.Mails, console.OutboxMail{ID: fmt.Sprint("msg_", i), To: hostile, Subject: hostile, Text: hostile, Link: "javascript:alert(1)", State: []string{"queued", "sent", "held", "refused"}[i%4], Note: "n", QueuedAt: at})
			q.Deliveries = append(q.Deliveries, console.QuarantinedDelivery{ID: fmt.Sprint("dlv_", i), Marketplace: "AWS Marketplace", Kind: hostile, Reason: hostile, ReceivedAt: at})
			q.Usage = append(q.Usage, console.QuarantinedEvent{ID: fmt.Sprint("e", i), Source: hostile, Event: hostile, Reason: "unknown_meter", UsedAt: at})
		}
		if n > 1 {
			box.Next, q.DeliveriesNext, q.UsageNext, q.Done, q.Problem = "msg_59", "dlv_59", "e59", "done", "problem"
		}
		out[fmt.Sprint("channels ", n)] = console.ChannelsPage(channels)
		out[fmt.Sprint("outbox ", n)], out[fmt.Sprint("quarantine ", n)] = console.OutboxPage(box), console.QuarantinePage(q)
	}
	maps.Copy(out, operatorPages())
	return out
}

func render(t *testing.T, c templ.Component) (*html.Node, string) {
	t.Helper()
	var b strings.Builder
	if err := c.Render(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return root, b.String()
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

// Every page has a language, a title, landmarks, one first heading; every field
// a label; every id is unique; nothing is inline or from elsewhere.
func TestEveryPageIsWellMade(t *testing.T) {
	t.Parallel()
	for name, page := range pages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, raw := render(t, page)
			count, ids, labels := map[string]int{}, map[string]bool{}, map[string]bool{}
			var fields, references []*html.Node
			for n := range root.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				if n.Data != "title" || n.Parent.Data == "head" { // a picture's parts have titles of their own
					count[n.Data]++
				}
				if v, ok := attr(n, "id"); ok {
					if ids[v] {
						t.Errorf("two elements have the id %q", v)
					}
					ids[v] = true
				}
				if v, ok := attr(n, "for"); ok {
					labels[v] = true
				}
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
						t.Errorf("inline %s on %s", a.Key, n.Data)
					}
					if (a.Key == "src" || n.Data == "link" && a.Key == "href") && !strings.HasPrefix(a.Val, "/assets/") {
						t.Errorf("%s loads %s", n.Data, a.Val)
					}
					if a.Key == "href" && strings.HasPrefix(a.Val, "javascript:") {
						t.Errorf("link %s", a.Val)
					}
				}
				kind, _ := attr(n, "type")
				switch {
				case n.Data == "script" && n.FirstChild != nil, n.Data == "style" && n.Parent.Data != "noscript":
					t.Errorf("inline %s", n.Data)
				case n.Data == "input" && kind != "hidden", n.Data == "select":
					fields = append(fields, n)
				case n.Data == "html":
					if lang, _ := attr(n, "lang"); lang != "en" {
						t.Error("the page has no language")
					}
				case n.Data == "form":
					if action, _ := attr(n, "action"); !strings.HasPrefix(action, "/") {
						t.Errorf("a form goes to %q", action)
					}
				}
				if _, ok := attr(n, "aria-labelledby"); ok {
					references = append(references, n)
				}
			}
			for _, f := range fields {
				if v, _ := attr(f, "id"); !labels[v] {
					t.Errorf("the field %q has no label", v)
				}
			}
			for _, r := range references {
				if v, _ := attr(r, "aria-labelledby"); !ids[v] {
					t.Errorf("%s is labelled by %q, which is not there", r.Data, v)
				}
			}
			for _, el := range []string{"title", "main", "h1", "header", "footer"} {
				if el != "header" && el != "footer" && count[el] != 1 || count[el] == 0 {
					t.Errorf("%d %s elements", count[el], el)
				}
			}
			if strings.Contains(raw, "<script>alert") {
				t.Error("text of others becomes markup")
			}
			for _, foreign := range []string{"Google", "Azure", "Microsoft"} {
				if strings.Contains(raw, foreign) {
					t.Errorf("the page names %s", foreign)
				}
			}
		})
	}
}

func TestAWaitingPageReloadsWithoutJavaScriptAndOtherwisePolls(t *testing.T) {
	t.Parallel()
	_, waiting := render(t, console.PurchasePage(console.Purchase{ID: "sub_1", State: "provisioning", NameChosen: true}))
	if !strings.Contains(waiting, `<noscript><meta http-equiv="refresh"`) || !strings.Contains(waiting, `hx-trigger="every 5s, live from:body"`) {
		t.Error("a waiting page does not look again")
	}
	_, typing := render(t, console.PurchasePage(console.Purchase{ID: "sub_1", State: "provisioning"}))
	if strings.Contains(typing, `http-equiv="refresh"`) {
		t.Error("a reload would empty the field somebody types into")
	}
	_, over := render(t, console.PurchasePage(console.Purchase{ID: "sub_1", State: "ended", NameChosen: true}))
	if strings.Contains(over, `http-equiv="refresh"`) || strings.Contains(over, "hx-trigger") {
		t.Error("an ended purchase is asked for again")
	}
}

func TestAssetsAreServedForEver(t *testing.T) {
	t.Parallel()
	_, raw := render(t, console.HelpPage(site, market, ""))
	root, _ := html.Parse(strings.NewReader(raw))
	seen := 0
	for n := range root.Descendants() {
		for _, key := range []string{"src", "href"} {
			u, ok := attr(n, key)
			if !ok || !strings.HasPrefix(u, "/assets/") {
				continue
			}
			seen++
			w := httptest.NewRecorder()
			console.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, u, nil))
			if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Body.Len() == 0 {
				t.Errorf("%s answered %d %v", u, w.Code, w.Header())
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d assets on the page", seen)
	}
	for path, want := range map[string]int{"/assets/pico/LICENSE.md": 200, "/assets/htmx/LICENSE": 200, "/assets/": 404, "/assets/../views.go": 404, "/assets/none": 404} {
		w := httptest.NewRecorder()
		console.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s answered %d, want %d", path, w.Code, want)
		}
	}
}
