package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/httpapi"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

func TestADeliveryReachesIntakeAsItCame(t *testing.T) {
	t.Parallel()
	var statuses []int
	w := setup(t, func(o *httpapi.Options) {
		o.Answered = func(m string, status int) { statuses = append(statuses, status) }
	})
	body := "{ \"detail\" :1}\n"
	r := w.call(t, http.MethodPost, "/aws/events", "application/json", body, "X-Api-Key", secret, "Authorization", "", "Cookie", "a=b")
	if r.StatusCode != http.StatusOK || r.body != "" {
		t.Fatalf("answered %d %q", r.StatusCode, r.body)
	}
	d := w.deliveries[0]
	if string(d.Body) != body || d.Header["x-api-key"] != secret || len(d.Header) != 1 || !d.ReceivedAt.Equal(now) || d.Source != "/aws/events" {
		t.Errorf("intake got %+v", d)
	}
	if len(statuses) != 1 || statuses[0] != http.StatusOK {
		t.Errorf("counted %v", statuses)
	}
}

func TestAWebhooksAnswerFollowsTheClass(t *testing.T) {
	t.Parallel()
	for class, want := range map[fault.Class]int{
		fault.Forged: 401, fault.Denied: 403, fault.NotFound: 404, fault.Unavailable: 503, fault.Unsure: 503, fault.Throttled: 429, fault.Conflict: 409, "": 500,
	} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			counted := 0
			w := setup(t, func(o *httpapi.Options) { o.Answered = func(_ string, status int) { counted = status } })
			w.accept = errors.New("database " + secret)
			if class != "" {
				w.accept = fault.Wrap(class, w.accept, "a text")
			}
			r := w.call(t, http.MethodPost, "/aws/events", "application/json", "{}", "Accept", "text/html")
			if r.StatusCode != want || counted != want {
				t.Fatalf("answered %d, counted %d, want %d", r.StatusCode, counted, want)
			}
			if strings.Contains(r.body, "database") {
				t.Errorf("the cause leaves: %s", r.body)
			}
			if retry := r.Header.Get("Retry-After"); (retry != "") != (want == 503 || want == 429) {
				t.Errorf("Retry-After %q with %d", retry, want)
			}
		})
	}
}

func TestARegistrationLeadsToAClaim(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.browser(t)
	r := b.post("/aws/register", url.Values{"x-amzn-marketplace-token": {secret}, "x-amzn-marketplace-offer-type": {"free-trial"}}, "Origin", "https://aws.amazon.com", "Sec-Fetch-Site", "cross-site")
	if r.StatusCode != http.StatusOK || r.Request.URL.Path != "/claim/claim-token" || r.Request.Method != http.MethodGet {
		t.Fatalf("ended at %s %s with %d", r.Request.Method, r.Request.URL, r.StatusCode)
	}
	if got := w.tokens[0]; got.Value != secret || got.Form["x-amzn-marketplace-offer-type"] != "free-trial" || len(got.Form) != 1 {
		t.Errorf("intake got %+v", got)
	}
	if !strings.Contains(r.body, `data-step="email"`) || !strings.Contains(r.body, `data-state="awaiting_buyer"`) {
		t.Errorf("the claim page has no form for an address: %s", r.body)
	}
}

func TestARegistrationThatFailsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		form   url.Values
		err    error
		status int
		says   string
	}{
		"no token":                   {url.Values{}, nil, 400, "none came with the request"},
		"endless token":              {url.Values{"x-amzn-marketplace-token": {strings.Repeat("a", 3<<20)}}, nil, 413, "too large"},
		"token of somebody else":     {url.Values{"x-amzn-marketplace-token": {"x"}}, fault.New(fault.Invalid, "This token is not one of ours."), 400, "This token is not one of ours."},
		"expired token":              {url.Values{"x-amzn-marketplace-token": {"x"}}, fault.New(fault.Gone, "expired"), 410, "This visit took too long"},
		"marketplace does not reply": {url.Values{"x-amzn-marketplace-token": {"x"}}, fault.New(fault.Unavailable, ""), 503, "AWS Marketplace does not answer yet"},
		"our trouble":                {url.Values{"x-amzn-marketplace-token": {"x"}}, errors.New("boom"), 500, "Something went wrong on our side"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			w.arrive = c.err
			r := w.browser(t).post("/aws/register", c.form)
			if r.StatusCode != c.status || !strings.Contains(r.body, c.says) {
				t.Fatalf("answered %d, want %d with %q:\n%s", r.StatusCode, c.status, c.says, r.body)
			}
			if strings.Contains(r.body, "boom") {
				t.Error("the cause leaves")
			}
		})
	}
}

func TestAPlainVisitOfTheRegistrationIsHelp(t *testing.T) {
	t.Parallel()
	r := setup(t).browser(t).get("/aws/register")
	if r.StatusCode != http.StatusOK || !strings.Contains(r.body, "Set up your account") {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	for _, foreign := range []string{"Google", "Azure", "Microsoft"} {
		if strings.Contains(r.body, foreign) {
			t.Errorf("the page names %s", foreign)
		}
	}
}

func TestProgramsGetProblemDocuments(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{http.MethodGet, "/nowhere", 404, "not_found"},
		{http.MethodGet, "/v1/nowhere", 404, "not_found"},
		{http.MethodDelete, "/healthz", 405, "method_not_allowed"},
		{http.MethodGet, "/v1/subscriptions/sub_none", 404, "not_found"},
		{http.MethodPost, "/v1/products/tailnet/go-live", 400, "invalid"},
		{http.MethodGet, "/v1/subscriptions?limit=x", 400, "invalid"},
	} {
		r := w.call(t, c.method, c.path, "application/json", "", "X-Request-Id", "caller-named-1")
		var p struct {
			Type, Title, Detail string
			Status              int
			RequestID           string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(r.body), &p); err != nil {
			t.Fatalf("%s %s: %v in %q", c.method, c.path, err, r.body)
		}
		if r.StatusCode != c.status || p.Status != c.status || p.Type != "urn:tailmarket:problem:"+c.kind || p.Title == "" || p.RequestID != "caller-named-1" || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s answered %d %s %+v", c.method, c.path, r.StatusCode, r.Header.Get("Content-Type"), p)
		}
	}
}

func everyMarket(o *httpapi.Options) {
	o.Markets = []marketplace.ID{marketplace.AWS, marketplace.GCP, marketplace.Azure}
}

func TestABuyerOfEachMarketplaceIsTaken(t *testing.T) {
	t.Parallel()
	for m, come := range map[marketplace.ID]func(b *browser) reply{
		marketplace.GCP: func(b *browser) reply {
			return b.post("/gcp/register", url.Values{"x-gcp-marketplace-token": {"ab+cd/ef"}}, "Origin", "https://console.cloud.google.com", "Sec-Fetch-Site", "cross-site")
		},
		marketplace.Azure: func(b *browser) reply { return b.get("/azure/register?token=ab%2Bcd%2Fef&more=x") },
	} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			w := setup(t, everyMarket)
			if r := come(w.browser(t)); r.Request.URL.Path != "/claim/claim-token" {
				t.Fatalf("ended at %s with %d", r.Request.URL, r.StatusCode)
			}
			if got := w.tokens[0]; got.Value != "ab+cd/ef" || w.arrivedAt[0] != m {
				t.Errorf("intake got %+v from %s", got, w.arrivedAt[0])
			}
		})
	}
}

// A 4xx of ours cancels a change that a customer pays for.
func TestOnlyADecisionRefusesAzuresMessage(t *testing.T) {
	t.Parallel()
	for class, want := range map[fault.Class]int{
		fault.Forged: 401, fault.Refused: 422, fault.Invalid: 503, fault.Denied: 503, fault.NotFound: 503, fault.Unavailable: 503, fault.Unsure: 503, fault.Throttled: 503, fault.Conflict: 503, "": 503,
	} {
		w := setup(t, everyMarket)
		w.accept = errors.New("database")
		if class != "" {
			w.accept = fault.Wrap(class, w.accept, "a text")
		}
		if r := w.call(t, http.MethodPost, "/azure/events", "application/json", "{}"); r.StatusCode != want {
			t.Errorf("%q answered %d, want %d", class, r.StatusCode, want)
		}
	}
	w := setup(t, everyMarket)
	if r := w.call(t, http.MethodPost, "/azure/events", "application/json", strings.Repeat("a", 64<<10)); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a body over the limit answered %d", r.StatusCode)
	}
}

// A listing rule of AWS, and good manners elsewhere.
func TestAPageNamesOneMarketplace(t *testing.T) {
	t.Parallel()
	names := map[marketplace.ID]string{marketplace.AWS: "AWS", marketplace.GCP: "Google", marketplace.Azure: "Azure"}
	w := setup(t, everyMarket)
	b := w.browser(t)
	for m, own := range names {
		page := b.get("/" + string(m) + "/register")
		if page.StatusCode != http.StatusOK || !strings.Contains(page.body, own) {
			t.Errorf("help of %s: %d %s", m, page.StatusCode, page.body)
		}
		for other, name := range names {
			if other != m && strings.Contains(page.body, name) {
				t.Errorf("help of %s names %s", m, name)
			}
		}
	}
	for _, path := range []string{"/nowhere", "/purchases/sub_1"} {
		for _, name := range names {
			if page := b.get(path); strings.Contains(page.body, name) || strings.Contains(page.body, "{button}") || strings.Contains(page.body, "{menu}") {
				t.Errorf("%s names %s: %s", path, name, page.body)
			}
		}
	}
}

func TestAMarketplaceThatIsNotSetUpHasNoAddress(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, path := range []string{"/azure/events", "/gcp/events", "/gcp/register"} {
		if r := w.call(t, http.MethodPost, path, "application/json", "{}"); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s answered %d", path, r.StatusCode)
		}
	}
}
