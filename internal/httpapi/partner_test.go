package httpapi_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/catalog"
	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/intake"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/partner"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

// partnersOf is the partner room as a small fake.
type partnersOf struct{ w *world }

const (
	goodLink = "lnk_0123456789abcdef.signature"
	followed = "lnk_0123456789abcdef.1a2b3c.signature"
)

func (f partnersOf) Follow(_ context.Context, token string) (partner.Followed, error) {
	if token != goodLink {
		return partner.Followed{}, fault.New(fault.NotFound, "We do not know this link.")
	}
	return partner.Followed{Listing: "https://listing.example/tailnet?a=b", Link: "lnk_0123456789abcdef", Value: followed}, f.w.err
}

func (f partnersOf) Arrived(_ context.Context, sub id.Subscription, claim id.Claim, kept []string) (bool, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if known := slices.Contains(kept, followed); known {
		f.w.touches = append(f.w.touches, string(sub)+" "+string(claim)+" link")
		return true, f.w.err
	}
	return false, f.w.err
}

func (f partnersOf) Said(_ context.Context, sub id.Subscription, claim id.Claim, answer string) error {
	if len(answer) > partner.MaxSaid {
		return fault.New(fault.Invalid, "Please answer in fewer words.")
	}
	f.w.touches = append(f.w.touches, string(sub)+" "+string(claim)+" "+answer)
	return f.w.err
}

func (f partnersOf) Partners(context.Context) ([]partner.Partner, error) {
	return []partner.Partner{{ID: "prt_1", Name: "Hawk", CreatedAt: now, Keys: []partner.Key{{Marketplace: "aws", Kind: partner.ResellerKey, Value: "4444"}}, Links: []partner.Link{{ID: "lnk_1"}}}}, f.w.err
}

func (f partnersOf) Add(_ context.Context, name, actor string) (partner.Partner, error) {
	f.w.written = append(f.w.written, "add "+name+" by "+actor)
	return partner.Partner{ID: "prt_1", Name: name, CreatedAt: now}, f.w.err
}

func (f partnersOf) Know(_ context.Context, of id.Partner, m string, kind partner.KeyKind, value, actor string) error {
	f.w.written = append(f.w.written, strings.Join([]string{"know", string(of), m, string(kind), value, "by", actor}, " "))
	return f.w.err
}

func (f partnersOf) MakeLink(_ context.Context, of id.Partner, m, product, actor string) (partner.Link, string, error) {
	f.w.written = append(f.w.written, strings.Join([]string{"link", string(of), m, product, "by", actor}, " "))
	return partner.Link{ID: "lnk_1", Partner: of, Marketplace: m, Product: product}, "/r/" + goodLink, f.w.err
}

func (f partnersOf) Attributions(_ context.Context, after id.Customer, limit int) ([]partner.Attribution, error) {
	var out []partner.Attribution
	for _, a := range f.w.attributed {
		if a.Customer > after && len(out) < limit {
			out = append(out, a)
		}
	}
	return out, f.w.err
}

func (f partnersOf) Channels(context.Context) ([]partner.ChannelValue, []partner.Attribution, error) {
	values, err := partner.ValueByChannel(f.w.attributed, []partner.Accepted{{Subscription: "sub_a", Meter: "m", Quantity: "12", Price: "0.25", Currency: "USD"}})
	if f.w.err != nil {
		err = f.w.err
	}
	return values, f.w.attributed, err
}

func attributed() []partner.Attribution {
	book := partner.BookOf([]partner.Partner{{ID: "prt_1", Name: "Hawk", Keys: []partner.Key{{Marketplace: "aws", Kind: partner.ResellerKey, Value: "4444"}}}})
	var out []partner.Attribution
	for _, c := range []partner.Customer{
		{ID: "cus_a", Marketplace: "aws", Account: "111111111111", Purchases: []partner.Purchase{{ID: "sub_a", VendorID: "arn:a", StartsAt: now}}},
		{ID: "cus_b", Marketplace: "aws", Account: "222222222222", Purchases: []partner.Purchase{{ID: "sub_b", VendorID: "arn:b", StartsAt: now, Statements: []partner.Statement{{Reseller: "4444", At: now, Message: "evt-1"}}}}},
		{ID: "cus_c", Marketplace: "aws", Account: "333333333333", Purchases: []partner.Purchase{{ID: "sub_c", VendorID: "arn:c", StartsAt: now, Statements: []partner.Statement{{Reseller: "5555", At: now, Message: "evt-2"}}}}},
	} {
		out = append(out, partner.Attribute(c, book))
	}
	return out
}

func TestAFollowedLinkIsKeptAndLeadsToTheListing(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) { o.Base = "https://buy.example" })
	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := plain.Do(request(t, http.MethodGet, w.server.URL+"/r/"+goodLink, nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "https://listing.example/tailnet?a=b" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the link answered %d %v", res.StatusCode, res.Header)
	}
	kept := res.Cookies()
	if len(kept) != 1 {
		t.Fatalf("%d cookies", len(kept))
	}
	k := kept[0]
	if k.Name != "tm_ref_6789abcdef" || k.Value != followed || k.Path != "/claim" || k.Domain != "" || k.MaxAge != 90*24*60*60 || !k.HttpOnly || !k.Secure || k.SameSite != http.SameSiteLaxMode {
		t.Errorf("the cookie is %+v", k)
	}
	if page := w.browser(t).get("/r/forged"); page.StatusCode != http.StatusNotFound || len(page.Cookies()) != 0 || !strings.Contains(page.body, "We do not know this link") {
		t.Errorf("a forged link answered %d %v", page.StatusCode, page.Cookies())
	}
}

func TestTheBuyerIsAskedOnlyWhenNoLinkTells(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stranger := w.browser(t)
	if page := stranger.get("/claim/claim-token"); !strings.Contains(page.body, `name="referred_by"`) || len(w.touches) != 0 {
		t.Fatalf("nobody is asked: %v\n%s", w.touches, page.body)
	}
	for _, form := range []url.Values{
		{"email": {"ana@company.example"}},
		{"email": {"ana@company.example"}, "referred_by": {"  "}},
		{"email": {"ana@company.example"}, "referred_by": {"Hawk & Co"}},
	} {
		if r := stranger.post("/claim/claim-token/email", form); r.Request.URL.Path != "/claim/claim-token/sent" {
			t.Fatalf("%v ended at %s", form, r.Request.URL)
		}
	}
	if diff := cmp.Diff([]string{sub + " clm_1 Hawk & Co"}, w.touches); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	long := strings.Repeat("Hawk ", 40)
	if page := stranger.post("/claim/claim-token/email", url.Values{"email": {"ana@company.example"}, "referred_by": {long}}); page.StatusCode != http.StatusBadRequest ||
		!strings.Contains(page.body, "fewer words") || !strings.Contains(page.body, long) || !strings.Contains(page.body, "ana@company.example") || len(w.emails) != 3 {
		t.Errorf("too long an answer: %d, %d mails\n%s", page.StatusCode, len(w.emails), page.body)
	}

	known := w.browser(t)
	known.c.Jar.SetCookies(request(t, http.MethodGet, w.server.URL+"/claim/claim-token", nil).URL, []*http.Cookie{{Name: "tm_ref_6789abcdef", Value: followed, Path: "/claim"}})
	if page := known.get("/claim/claim-token"); strings.Contains(page.body, "referred_by") || len(w.touches) != 2 {
		t.Errorf("who followed a link is asked: %v", w.touches)
	}
	// A purchase that somebody holds tells of its holder, not of who comes later.
	w.visit.Holder = "a…@company.example"
	known.get("/claim/claim-token")
	known.post("/claim/claim-token/email", url.Values{"email": {"bob@company.example"}, "referred_by": {"Owl"}})
	if len(w.touches) != 2 {
		t.Errorf("a second person's visit tells who brought the first: %v", w.touches)
	}
}

func TestAttributionAndValueOverTheAPI(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.attributed = attributed()
	var page struct {
		Items []struct{ Customer, Route, Partner, Evidence string }
		Next  string
	}
	read := func(path string, into any) {
		t.Helper()
		r := w.call(t, http.MethodGet, path, "", "")
		if err := json.Unmarshal([]byte(r.body), into); r.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s answered %d %s: %v", path, r.StatusCode, r.body, err)
		}
	}
	read("/v1/attribution?limit=2", &page)
	if len(page.Items) != 2 || page.Next != "cus_b" || page.Items[0].Partner != "" || page.Items[0].Route != "public_listing" || !strings.Contains(page.Items[0].Evidence, "arn:a") ||
		page.Items[1].Partner != "Hawk" || page.Items[1].Route != "reseller" || !strings.Contains(page.Items[1].Evidence, "evt-1") {
		t.Errorf("attribution: %+v", page)
	}
	page.Items, page.Next = nil, ""
	if read("/v1/attribution?limit=2&after=cus_b", &page); len(page.Items) != 1 || page.Next != "" {
		t.Errorf("the last page: %+v", page)
	}
	var values struct {
		Label string
		Items []struct {
			Channel, Revenue, Currency string
			Customers, Unpriced        int
		}
	}
	read("/v1/value-by-channel", &values)
	if values.Label != "observed to date, channels of different age: not comparable" || len(values.Items) != 3 || values.Items[0].Channel != "no partner, public listing" ||
		values.Items[0].Revenue != "3.00" || values.Items[0].Currency != "USD" || values.Items[0].Customers != 1 {
		t.Errorf("value: %+v", values)
	}
}

func TestPartnersOverTheAPI(t *testing.T) {
	t.Parallel()
	w := setup(t, func(o *httpapi.Options) { o.Base = "https://buy.example" })
	post := func(path, body string) reply {
		return w.call(t, http.MethodPost, path, "application/json", body)
	}
	if r := post("/v1/partners", `{"name":"Hawk"}`); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `"prt_1"`) {
		t.Errorf("adding answered %d %s", r.StatusCode, r.body)
	}
	if r := post("/v1/partners/prt_1/keys", `{"marketplace":"aws","kind":"reseller","value":"4444"}`); r.StatusCode != http.StatusNoContent {
		t.Errorf("a key answered %d %s", r.StatusCode, r.body)
	}
	if r := post("/v1/partners/prt_1/links", `{"marketplace":"aws","product":"tailnet"}`); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `"https://buy.example/r/`+goodLink+`"`) {
		t.Errorf("a link answered %d %s", r.StatusCode, r.body)
	}
	if diff := cmp.Diff([]string{"add Hawk by operator key", "know prt_1 aws reseller 4444 by operator key", "link prt_1 aws tailnet by operator key"}, w.written); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, path := range []string{"/v1/partners", "/v1/partners/prt_1/keys", "/v1/partners/prt_1/links"} {
		if r := post(path, "no JSON"); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s took no JSON: %d", path, r.StatusCode)
		}
	}
}

func TestTheChannelsPageShowsItsLabelAndTheCustomersBehindANumber(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.attributed = attributed()
	operator := w.operator(t)
	page := operator.get("/operator/channels")
	for _, part := range []string{console.ChannelsLabel, "Hawk, reseller", "evt-1", "nobody known", "3.00 USD", "111111111111", "No partner is known by: aws names the reseller 5555"} {
		if !strings.Contains(page.body, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	page = operator.get("/operator/channels?partner=prt_1&route=reseller")
	if !strings.Contains(page.body, "222222222222") || strings.Contains(page.body, "333333333333") || !strings.Contains(page.body, "Only Hawk, reseller") {
		t.Error("the customers of one channel are not told from the others")
	}
	if page = w.browser(t).get("/operator/channels"); page.StatusCode != http.StatusUnauthorized {
		t.Errorf("anybody sees the channels: %d", page.StatusCode)
	}
}

// cloud is a marketplace of which only the buyers' tokens are needed.
type cloud struct{ marketplace.Adapter }

func (cloud) Resolve(_ context.Context, t marketplace.Token) (marketplace.Arrival, error) {
	return marketplace.Arrival{Account: t.Value, Purchases: []marketplace.Ref{{Purchase: "arn:" + t.Value, Product: "tailnet"}}}, nil
}

func (cloud) DeliveryForged(marketplace.ID, marketplace.Channel) {}

// The whole way over the real rooms and database: a link, the marketplace's
// listing, its POST from another site, and our claim page.
func TestABuyersWayFromALinkToATag(t *testing.T) {
	t.Parallel()
	db := storetest.Open(t, store.SQLite)
	listing := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) != 0 { // our cookie is for the claim page alone
			t.Error("another page of our host gets the cookie")
		}
	}))
	defer listing.Close()
	log, clock := slog.New(slog.DiscardHandler), func() time.Time { return now }
	subs := subscription.New(db, *catalog.Default(), clock, log)
	partners := partner.New(partner.Options{
		Store: db, Now: clock, Log: log, Listing: func(string, string) (string, bool) { return listing.URL, true },
		Accepted: func(context.Context) ([]partner.Accepted, error) { return nil, nil },
		Price:    func(string, string, string) (string, string, bool) { return "", "", false },
	})
	w := setup(t, func(o *httpapi.Options) {
		o.Partners, o.Claims, o.Purchases = partners, subs, subs
		o.Intake = intake.New(db, subs, map[marketplace.ID]marketplace.Adapter{marketplace.AWS: cloud{}}, cloud{}, clock, log)
	})
	call := func(method, path, body string, into any) {
		t.Helper()
		r := w.call(t, method, path, "application/json", body)
		if err := json.Unmarshal([]byte(r.body), into); r.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s answered %d %s: %v", path, r.StatusCode, r.body, err)
		}
	}
	var hawk struct{ ID string }
	call(http.MethodPost, "/v1/partners", `{"name":"Hawk"}`, &hawk)
	var link struct{ URL string }
	call(http.MethodPost, "/v1/partners/"+hawk.ID+"/links", `{"marketplace":"aws","product":"tailnet"}`, &link)

	// buys goes the way of a buyer; a browser sends no Lax cookie with the POST.
	buys := func(account, referral, answer string) {
		t.Helper()
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := &browser{t, w, &http.Client{Jar: jar}}
		if referral != "" {
			if r := b.get(strings.TrimPrefix(referral, w.server.URL)); r.StatusCode != http.StatusOK || !strings.HasPrefix(listing.URL, "http://"+r.Request.URL.Host) {
				t.Fatalf("the link led to %s with %d", r.Request.URL, r.StatusCode)
			}
		}
		form := strings.NewReader(url.Values{"x-amzn-marketplace-token": {account}}.Encode())
		arrives := request(t, http.MethodPost, w.server.URL+"/aws/register", form)
		arrives.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := plain.Do(arrives)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		claim := res.Header.Get("Location")
		page := b.get(claim)
		if asked := strings.Contains(page.body, `name="referred_by"`); asked != (referral == "") {
			t.Fatalf("%s is asked: %v", account, asked)
		}
		if answer != "" {
			b.post(claim+"/email", url.Values{"email": {"ana@company.example"}, "referred_by": {answer}})
		}
	}
	buys("111111111111", link.URL, "")
	buys("222222222222", "", "HAWK")
	buys("333333333333", "", "")

	var got struct {
		Items []struct{ Account, Route, Partner, Evidence string }
	}
	call(http.MethodGet, "/v1/attribution", "", &got)
	tags := map[string]string{}
	for _, a := range got.Items {
		tags[a.Account] = a.Route + ", " + a.Partner
		if a.Evidence == "" {
			t.Errorf("%s is tagged without evidence", a.Account)
		}
	}
	want := map[string]string{"111111111111": "public_listing, Hawk", "222222222222": "public_listing, Hawk", "333333333333": "public_listing, "}
	if diff := cmp.Diff(want, tags); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if text := link.URL[strings.LastIndex(link.URL, "/")+1:]; strings.Contains(w.log.String(), text) || strings.Contains(w.log.String(), "HAWK") {
		t.Error("the log holds a link or an answer")
	}
}
