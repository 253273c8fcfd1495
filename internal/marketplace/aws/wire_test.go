package aws_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
)

const (
	licenceARN = "arn:aws:license-manager::294406891311:license:l-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	buyer      = "001987654321"
)

// against is an adapter whose AWS answers as answer says; for what the simulator
// never does. calls counts requests.
func against(t *testing.T, answer http.HandlerFunc) (a *aws.Adapter, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return at(t, srv.URL, srv.Client()), calls
}

func at(t *testing.T, endpoint string, hc *http.Client) *aws.Adapter {
	t.Helper()
	a, err := aws.Config{
		Region: "eu-central-1", SellerAccount: "111122223333", Endpoint: endpoint, EventKey: "correct horse battery staple", AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret",
		Listings: []aws.Listing{{Product: product, ProductCode: "7exampl0code1exampl0code", ProductID: "prod-0example0exam", Dimensions: []string{"api_request"}}},
	}.Open(t.Context(), hc, slog.New(slog.DiscardHandler), func() time.Time { return time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC) })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func batchOf(n int) []marketplace.Record {
	var out []marketplace.Record
	for i := range n {
		r := marketplace.Record{
			Product: product, Identity: marketplace.VendorIdentity{Account: buyer, License: licenceARN}, Dimension: "api_request",
			Hour: clock.HourFromUnix(1790848800).Add(i), Quantity: strconv.Itoa(100 + i),
		}
		r.Key = "key-" + strconv.Itoa(i)
		out = append(out, r)
	}
	return out
}

func refusing(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.marketplacemetering#" + code, "message": message})
	}
}

func saying(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, body)
	}
}

// TestSubmitErrors: Refused and Throttled only where nothing can have been recorded.
func TestSubmitErrors(t *testing.T) {
	t.Parallel()
	redirected := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	cases := []struct {
		name    string
		answer  http.HandlerFunc
		class   fault.Class
		refusal marketplace.ReceiptOutcome
		public  string
	}{
		{"too old", refusing(400, "TimestampOutOfBoundsException", ""), fault.Refused, marketplace.OutcomeExpired, ""},
		{"unknown dimension", refusing(400, "InvalidUsageDimensionException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"licence not of this buyer", refusing(400, "InvalidLicenseException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"legacy identifier", refusing(400, "InvalidCustomerIdentifierException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"bad tag", refusing(400, "InvalidTagException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"sums differ", refusing(400, "InvalidUsageAllocationsException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"not in the service's form", refusing(400, "ValidationException", ""), fault.Refused, marketplace.OutcomeInvalid, ""},
		{"wrong product code", refusing(400, "InvalidProductCodeException", ""), fault.Refused, "", ""},
		{"too large", refusing(413, "RequestEntityTooLargeException", ""), fault.Refused, "", ""},
		{"API not enabled in the region", refusing(400, "DisabledApiException", ""), fault.Throttled, "", "REGION"},
		{"too fast", refusing(400, "ThrottlingException", "Rate exceeded"), fault.Throttled, "", ""},
		{"key withdrawn", refusing(400, "UnrecognizedClientException", ""), fault.Throttled, "", "credentials"},
		{"no permission", refusing(400, "AccessDeniedException", ""), fault.Throttled, "", "credentials"},
		{"session expired", refusing(400, "ExpiredTokenException", "The security token included in the request is expired"), fault.Throttled, "", "credentials"},
		{"its own trouble", refusing(500, "InternalServiceErrorException", ""), fault.Unsure, "", ""},
		{"a code nobody knows", refusing(400, "EnchantedException", ""), fault.Unsure, "", ""},
		{"a proxy's page", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, fault.Unsure, "", ""},
		{"a client error without a code", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, fault.Unsure, "", ""},
		{"an answer that cannot be read", saying(`{"Results":[{`), fault.Unsure, "", ""},
		{"a cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, fault.Unsure, "", ""},
		{"sent elsewhere", redirected, fault.Unsure, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, calls := against(t, c.answer)
			got, err := a.Submit(t.Context(), batchOf(2))
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || got != nil || f.Class != c.class {
				t.Fatalf("receipts %v, error %v, want class %q", got, err, c.class)
			}
			if !strings.Contains(f.Public, c.public) || (c.public == "") != (f.Public == "") {
				t.Errorf("text %q, want one about %q", f.Public, c.public)
			}
			switch r := marketplace.RefusalOf(err); {
			case c.refusal == "" && r != nil, c.refusal != "" && (r == nil || r.Outcome != c.refusal || r.Detail == ""):
				t.Errorf("refusal %+v, want %q", r, c.refusal)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
		})
	}
}

// TestSubmitNotSent: what never left was not recorded.
func TestSubmitNotSent(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	for name, a := range map[string]*aws.Adapter{
		"nobody listens": at(t, srv.URL, srv.Client()), "somebody else's certificate": at(t, other.URL, &http.Client{Transport: &http.Transport{}}),
	} {
		if _, err := a.Submit(t.Context(), batchOf(1)); !fault.Is(err, fault.Throttled) {
			t.Errorf("%s: error %v, want class throttled", name, err)
		}
	}
}

// TestSubmitMatchesAnswers: by what identifies a record, in any order, and what
// is not said is not made up.
func TestSubmitMatchesAnswers(t *testing.T) {
	t.Parallel()
	result := func(i int, licence, status, more string) string {
		return `{"UsageRecord":{"Timestamp":` + strconv.Itoa(1790848800+3600*i) + `,"CustomerAWSAccountId":"` + buyer + `","LicenseArn":"` + licence +
			`","Dimension":"api_request","Quantity":` + strconv.Itoa(100+i) + `},"Status":"` + status + `"` + more + `}`
	}
	short := trimmed(licenceARN)
	body := `{"Results":[` + strings.Join([]string{
		result(4, licenceARN, "Enchanted", ""),
		result(3, licenceARN, "CustomerNotSubscribed", ""),
		result(2, licenceARN, "DuplicateRecord", `,"MeteringRecordId":"m2"`),
		result(1, short, "Success", `,"MeteringRecordId":"m1"`),
		result(0, licenceARN, "Success", `,"MeteringRecordId":"m0"`),
		result(7, licenceARN, "Success", `,"MeteringRecordId":"m7"`),
		result(7, licenceARN, "CustomerNotSubscribed", ""),
		result(99, licenceARN, "Success", `,"MeteringRecordId":"nobody's"`),
		`{"Status":"Success","MeteringRecordId":"no record"}`,
	}, ",") + `],"UnprocessedRecords":[{"Timestamp":1790866800,"CustomerAWSAccountId":"` + buyer + `","LicenseArn":"` + licenceARN + `","Dimension":"api_request","Quantity":105}]}`
	a, _ := against(t, saying(body))
	got, err := a.Submit(t.Context(), batchOf(8))
	if err != nil {
		t.Fatal(err)
	}
	want := []marketplace.Receipt{
		{Key: "key-0", Outcome: marketplace.OutcomeAccepted, ID: "m0", Quantity: "100", Detail: "Success"},
		{Key: "key-1", Outcome: marketplace.OutcomeAccepted, ID: "m1", Quantity: "101", Detail: "Success"},
		{Key: "key-2", Outcome: marketplace.OutcomeDuplicate, ID: "m2", Detail: "DuplicateRecord"},
		{Key: "key-3", Outcome: marketplace.OutcomeNotSubscribed, Detail: "CustomerNotSubscribed", StopsService: true},
		{Key: "key-4", Outcome: marketplace.OutcomeFailed, Detail: `unknown status "Enchanted"`},
		{Key: "key-5", Outcome: marketplace.OutcomeUnprocessed, Detail: "UnprocessedRecords"},
		{Key: "key-6", Outcome: marketplace.OutcomeMissing},
		{Key: "key-7", Outcome: marketplace.OutcomeFailed, ID: "m7", Detail: "answered twice: accepted and not_subscribed"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSubmitOnTheWire is the one request, word for word.
func TestSubmitOnTheWire(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body map[string]any
	a, _ := against(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		saying(`{"Results":[],"UnprocessedRecords":[]}`)(w, r)
	})
	r := batchOf(1)[0]
	r.Quantity = "118.00"
	r.Allocations = []marketplace.Allocation{{Tags: map[string]string{"Zone": "b", "Tailnet": "corp"}, Quantity: "100"}, {Quantity: "18"}}
	if _, err := a.Submit(t.Context(), []marketplace.Record{r}); err != nil {
		t.Fatal(err)
	}
	if got := header.Get("X-Amz-Target"); got != "AWSMPMeteringService.BatchMeterUsage" {
		t.Errorf("target %q", got)
	}
	if got := header.Get("Authorization"); !strings.Contains(got, "/eu-central-1/aws-marketplace/aws4_request") {
		t.Errorf("signed for %q, want the metering region and the marketplace", got)
	}
	want := map[string]any{"UsageRecords": []any{map[string]any{
		"Timestamp": float64(1790848800), "Dimension": "api_request", "Quantity": float64(118), "CustomerAWSAccountId": buyer, "LicenseArn": licenceARN,
		"UsageAllocations": []any{
			map[string]any{"AllocatedUsageQuantity": float64(100), "Tags": []any{map[string]any{"Key": "Tailnet", "Value": "corp"}, map[string]any{"Key": "Zone", "Value": "b"}}},
			map[string]any{"AllocatedUsageQuantity": float64(18)},
		},
	}}}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSubmitSendsNothingThatIsTooLargeOrTwice(t *testing.T) {
	t.Parallel()
	a, calls := against(t, saying(`{}`))
	big := batchOf(1)[0]
	big.Quantity = "2500"
	for i := range 2500 {
		big.Allocations = append(big.Allocations, marketplace.Allocation{Tags: map[string]string{"Tailnet": strings.Repeat("x", 250) + strconv.Itoa(i), "Zone": strings.Repeat("y", 250)}, Quantity: "1"})
	}
	same := batchOf(1)[0]
	same.Key = "another key of the same slot"
	for name, batch := range map[string][]marketplace.Record{"over 1 MB": {big}, "one slot twice": {batchOf(1)[0], same}} {
		if _, err := a.Submit(t.Context(), batch); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: error %v, want class refused", name, err)
		}
	}
	uneven := batchOf(1)[0]
	uneven.Allocations = []marketplace.Allocation{{Quantity: "1"}}
	both := batchOf(1)[0]
	both.Identity.ProductCode = "7exampl0code1exampl0code"
	for name, r := range map[string]marketplace.Record{"shares that do not sum up": uneven, "a product code beside a licence": both} {
		if got, err := a.Submit(t.Context(), []marketplace.Record{r}); err != nil || got[0].Outcome != marketplace.OutcomeInvalid {
			t.Errorf("%s: %+v %v, want invalid", name, got, err)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

func TestResolveAnswers(t *testing.T) {
	t.Parallel()
	answer := func(code, account, licence string) http.HandlerFunc {
		return saying(`{"ProductCode":"` + code + `","CustomerAWSAccountId":"` + account + `","LicenseArn":"` + licence + `","CustomerIdentifier":"X01"}`)
	}
	cases := []struct {
		name   string
		answer http.HandlerFunc
		class  fault.Class
	}{
		{"another seller's product", answer("anothercode", buyer, licenceARN), fault.Denied},
		{"a listing without licences", answer("7exampl0code1exampl0code", buyer, ""), fault.Refused},
		{"no account", answer("7exampl0code1exampl0code", "", licenceARN), fault.Refused},
		{"too fast", refusing(400, "ThrottlingException", ""), fault.Throttled},
		{"a bad token", refusing(400, "InvalidTokenException", ""), fault.Invalid},
		{"an old token", refusing(400, "ExpiredTokenException", "The submitted registration token has expired."), fault.Gone},
		{"our own session has expired", refusing(400, "ExpiredTokenException", "The security token included in the request is expired"), fault.Unavailable},
		{"API not enabled in the region", refusing(400, "DisabledApiException", ""), fault.Unavailable},
		{"a code nobody knows", refusing(400, "EnchantedException", ""), fault.Unavailable},
		{"a cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, fault.Unavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, calls := against(t, c.answer)
			_, err := a.Resolve(t.Context(), marketplace.Token{Value: "tok-EXAMPLE-opaque"})
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Class != c.class || f.Public == "" {
				t.Errorf("error %v, want class %q and a text", err, c.class)
			}
			if err != nil && strings.Contains(err.Error(), "tok-EXAMPLE") {
				t.Errorf("the error holds the token: %v", err)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
		})
	}
}
