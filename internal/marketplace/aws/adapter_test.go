package aws_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/marketplace/aws"
	"github.com/tailmarket/tailmarket/internal/simulator"
)

// world is the adapter against the simulator, over TLS, with AWS's own SDKs.
type world struct {
	sim     *simulator.Simulator
	adapter *aws.Adapter
	config  aws.Config
	events  chan marketplace.Delivery // what the queue delivered
}

func setup(t *testing.T) *world {
	t.Helper()
	sim, err := simulator.New(simulator.Options{Seed: 7, Weather: simulator.WeatherGood, Channel: simulator.ChannelSQS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(sim.CAPEM()) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	o := sim.Options()
	header, key := sim.EventKey()
	w := &world{sim: sim, events: make(chan marketplace.Delivery, 64), config: aws.Config{
		Region: o.Region, SellerAccount: o.SellerAccount, Endpoint: sim.AWSURL(), QueueURL: sim.QueueURL(), EventKeyHeader: header, EventKey: key,
		AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", Listings: []aws.Listing{{Product: "tailnet", ProductCode: o.Products[0].Code, ProductID: o.Products[0].ID, Dimensions: o.Products[0].Dimensions}},
	}}
	w.adapter, err = w.config.Open(t.Context(), &http.Client{Transport: transport, Timeout: 30 * time.Second}, slog.New(slog.DiscardHandler), sim.Now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// advance moves the simulator's clock; this test is the app that is always idle.
func (w *world) advance(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	idle, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for idle.Err() == nil {
			w.sim.Idle(idle, "test", w.sim.Now())
		}
	}()
	if err := w.sim.Advance(ctx, w.sim.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	end()
	<-done
}

// listen takes everything from the queue until the test ends.
func (w *world) listen(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.adapter.Listen(ctx, func(_ context.Context, d marketplace.Delivery) error { w.events <- d; return nil })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) buy(t *testing.T) simulator.Buyer {
	t.Helper()
	b, err := w.sim.Buy(t.Context(), simulator.Purchase{Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) record(b simulator.Buyer, dimension string, h clock.Hour, q int) marketplace.Record {
	r := marketplace.Record{
		Product: "tailnet", Identity: marketplace.VendorIdentity{Account: b.Account, License: b.LicenseArn}, Dimension: dimension,
		Hour: h, From: h.Start(), To: h.End(), Quantity: strconv.Itoa(q),
	}
	r.Key = w.adapter.Rules("tailnet").Slot(r)
	return r
}

func (w *world) billed(b simulator.Buyer) (n int64) {
	for _, l := range w.sim.Bill().Lines {
		if l.LicenseArn == b.LicenseArn {
			n += l.Quantity
		}
	}
	return n
}

func TestAPurchaseFromEventsToBill(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.listen(t)
	b := w.buy(t)
	w.advance(t, 3*time.Hour)

	kinds := map[marketplace.EventKind]marketplace.Event{}
	for len(kinds) < 2 {
		d := <-w.events
		v, err := w.adapter.Verify(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		events, err := w.adapter.Translate(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			kinds[e.Kind] = e
		}
	}
	if e := kinds[marketplace.PurchaseSeen]; e.Ref.Agreement != b.AgreementID || e.Ref.Purchase != "" || e.Ref.Account != b.Account || !e.Terms.To.IsZero() || e.Reseller != "" {
		t.Fatalf("created: %+v", e)
	}
	if e := kinds[marketplace.Entitled]; e.Ref.Purchase != b.LicenseArn || e.Ref.Agreement != b.AgreementID || e.Ref.Product != "tailnet" {
		t.Fatalf("entitled: %+v", e)
	}

	hour := clock.HourOf(w.sim.Now()).Prev()
	batch := []marketplace.Record{w.record(b, "api_request", hour, 12), w.record(b, "active_user", hour, 3)}
	receipts, err := w.adapter.Submit(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.Key != batch[i].Key || r.Outcome != marketplace.OutcomeAccepted || r.ID == "" || r.Quantity != batch[i].Quantity {
			t.Fatalf("receipt %d: %+v", i, r)
		}
	}
	other := w.record(b, "api_request", hour, 99)
	if receipts, err = w.adapter.Submit(t.Context(), []marketplace.Record{other}); err != nil || receipts[0].Outcome != marketplace.OutcomeDuplicate {
		t.Fatalf("another quantity for a taken slot: %+v %v", receipts, err)
	}
	if got := w.billed(b); got != 15 {
		t.Fatalf("billed %d, want 15", got)
	}
}

func TestOneCallIsOneRequestAndDoubtIsUnsure(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kind   simulator.Kind
		class  fault.Class
		billed int64
	}{
		"accepted, then cut off":         {simulator.KindAcceptThenClose, fault.Unsure, 5},
		"an internal error":              {simulator.Kind5xx, fault.Unsure, 0},
		"throttled, so nothing recorded": {simulator.KindThrottle, fault.Throttled, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			w.listen(t)
			b := w.buy(t)
			w.advance(t, 2*time.Hour)
			r := w.record(b, "api_request", clock.HourOf(w.sim.Now()).Prev(), 5)
			w.sim.Force(simulator.Force{Kind: c.kind, Times: 1})
			if _, err := w.adapter.Submit(t.Context(), []marketplace.Record{r}); fault.ClassOf(err) != c.class {
				t.Fatalf("class %q (%v), want %q", fault.ClassOf(err), err, c.class)
			}
			// A hidden retry of the SDK would have billed what was not recorded.
			if got := w.billed(b); got != c.billed {
				t.Fatalf("billed %d after one call, want %d", got, c.billed)
			}
			receipts, err := w.adapter.Submit(t.Context(), []marketplace.Record{r})
			if err != nil || (receipts[0].Outcome != marketplace.OutcomeAccepted && receipts[0].Outcome != marketplace.OutcomeDuplicate) {
				t.Fatalf("the same again: %+v %v", receipts, err)
			}
			if got := w.billed(b); got != 5 {
				t.Fatalf("billed %d in the end, want 5", got)
			}
		})
	}
}

func TestOneBadRecordRefusesTheWholeCall(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.listen(t)
	b := w.buy(t)
	w.advance(t, 2*time.Hour)
	hour := clock.HourOf(w.sim.Now()).Prev()
	_, err := w.adapter.Submit(t.Context(), []marketplace.Record{w.record(b, "api_request", hour, 5), w.record(b, "no_such_dimension", hour, 1)})
	if fault.ClassOf(err) != fault.Refused || w.billed(b) != 0 {
		t.Fatalf("class %q, billed %d", fault.ClassOf(err), w.billed(b))
	}
	unprocessed := w.record(b, "api_request", hour, 5)
	w.sim.Force(simulator.Force{Kind: simulator.KindUnprocessed, Times: 1})
	receipts, err := w.adapter.Submit(t.Context(), []marketplace.Record{unprocessed})
	if err != nil || receipts[0].Outcome != marketplace.OutcomeUnprocessed {
		t.Fatalf("%+v %v", receipts, err)
	}
}

func TestNothingLeavesThatAWSCannotTake(t *testing.T) {
	t.Parallel()
	w := setup(t)
	b := w.buy(t)
	hour := clock.HourOf(w.sim.Now())
	fraction, big, nobody := w.record(b, "api_request", hour, 1), w.record(b, "api_request", hour, 1), w.record(b, "api_request", hour, 1)
	fraction.Quantity, big.Quantity, nobody.Identity.License = "12.5", "2147483648", ""
	foreign := w.record(b, "api_request", hour, 1)
	foreign.Product = "another"
	for name, r := range map[string]marketplace.Record{"a fraction": fraction, "too many units": big, "no licence": nobody} {
		receipts, err := w.adapter.Submit(t.Context(), []marketplace.Record{r})
		if err != nil || len(receipts) != 1 || receipts[0].Outcome != marketplace.OutcomeInvalid || receipts[0].Detail == "" {
			t.Errorf("%s: %+v %v", name, receipts, err)
		}
	}
	for name, batch := range map[string][]marketplace.Record{
		"26 records":   slices.Repeat([]marketplace.Record{w.record(b, "api_request", hour, 1)}, 26),
		"two products": {w.record(b, "api_request", hour, 1), foreign},
	} {
		if _, err := w.adapter.Submit(t.Context(), batch); fault.ClassOf(err) != fault.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReaderTellsTheTruth(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.listen(t)
	stays, leaves := w.buy(t), w.buy(t)
	w.advance(t, time.Hour)
	if _, err := w.sim.Cancel(t.Context(), leaves.LicenseArn, ""); err != nil {
		t.Fatal(err)
	}
	cancelled := w.sim.Now()
	w.advance(t, time.Hour)

	w.sim.Force(simulator.Force{Kind: simulator.KindEmptyPage, Times: 2})
	seen := map[string]marketplace.Event{}
	err := w.adapter.Purchases(t.Context(), marketplace.Mark{}, func(page marketplace.Page) error {
		for _, e := range page.Events {
			seen[e.Ref.Purchase] = e
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if o := seen[stays.LicenseArn].Observed; o == nil || !o.Entitled || o.Ended {
		t.Fatalf("stays: %+v", o)
	}
	if o := seen[leaves.LicenseArn].Observed; o == nil || o.Entitled || !o.Ended || !o.EndsAt.Equal(cancelled) {
		t.Fatalf("leaves: %+v, cancelled at %s", o, cancelled)
	}
	for name, ref := range map[string]marketplace.Ref{"licence": {Purchase: stays.LicenseArn}, "agreement": {Agreement: stays.AgreementID}} {
		got, err := w.adapter.Purchase(t.Context(), ref)
		if err != nil || len(got) != 1 || got[0].Ref.Purchase != stays.LicenseArn || got[0].Ref.Account != stays.Account {
			t.Errorf("by %s: %+v %v", name, got, err)
		}
	}
	if got, err := w.adapter.Purchase(t.Context(), marketplace.Ref{Agreement: "agmt-nobodys"}); err != nil || len(got) != 0 {
		t.Errorf("an unknown agreement: %+v %v", got, err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.listen(t)
	b := w.buy(t)
	token, err := w.sim.Token(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a token may be used again while it lives
		got, err := w.adapter.Resolve(t.Context(), marketplace.Token{Value: token, Form: map[string]string{"x-amzn-marketplace-offer-type": "free-trial"}})
		if err != nil || got.Account != b.Account || len(got.Purchases) != 1 || got.Purchases[0].Purchase != b.LicenseArn || got.Purchases[0].Product != "tailnet" || got.Extra["x-amzn-marketplace-offer-type"] != "free-trial" {
			t.Fatalf("%+v %v", got, err)
		}
	}
	for value, class := range map[string]fault.Class{"": fault.Invalid, "made-up": fault.Invalid} {
		_, err := w.adapter.Resolve(t.Context(), marketplace.Token{Value: value})
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != class || f.Public == "" {
			t.Errorf("token %q: %v", value, err)
		}
	}
	w.advance(t, 5*time.Hour)
	if _, err := w.adapter.Resolve(t.Context(), marketplace.Token{Value: token}); fault.ClassOf(err) != fault.Gone {
		t.Errorf("an expired token: %v", err)
	}
}

func TestForeignAndForgedDeliveries(t *testing.T) {
	t.Parallel()
	w := setup(t)
	good := `{"id":"e1","detail-type":"License Updated - Manufacturer","source":"aws.agreement-marketplace","account":"` + w.config.SellerAccount +
		`","time":"2026-11-03T00:00:00Z","detail":{"agreement":{"id":"agmt-1"},"product":{"code":"` + w.config.Listings[0].ProductCode + `"},"license":{"arn":"arn:x:l-1"},"acceptor":{"accountId":"210987654321"}}}`
	deliver := func(ch marketplace.Channel, key, body string) ([]marketplace.Event, error) {
		v, err := w.adapter.Verify(t.Context(), marketplace.Delivery{Channel: ch, Header: map[string]string{w.config.EventKeyHeader: key}, Body: []byte(body)})
		if err != nil {
			return nil, err
		}
		return w.adapter.Translate(v)
	}
	swap := func(from, to string) string {
		return string(replace(t, []byte(good), from, to))
	}
	if events, err := deliver(marketplace.HTTPS, w.config.EventKey, good); err != nil || len(events) != 1 || events[0].Kind != marketplace.Entitled {
		t.Fatalf("%+v %v", events, err)
	}
	cases := map[string]struct {
		ch    marketplace.Channel
		key   string
		body  string
		class fault.Class
	}{
		"a wrong key":                {marketplace.HTTPS, "wrong", good, fault.Forged},
		"no key":                     {marketplace.HTTPS, "", good, fault.Forged},
		"a channel AWS does not use": {marketplace.Pull, w.config.EventKey, good, fault.Forged},
		"not JSON":                   {marketplace.SQS, "", "hello", fault.Unreadable},
		"no id":                      {marketplace.SQS, "", swap(`"e1"`, `""`), fault.Unreadable},
		"a character not for text":   {marketplace.SQS, "", swap(`"e1"`, `"e1\u0000"`), fault.Unreadable},
		"a foreign account":          {marketplace.SQS, "", swap(w.config.SellerAccount, "999988887777"), fault.Unreadable},
		"a foreign source":           {marketplace.SQS, "", swap("aws.agreement-marketplace", "aws.ec2"), fault.Unreadable},
		"a foreign product":          {marketplace.SQS, "", swap(w.config.Listings[0].ProductCode, "other"), fault.Unreadable},
		"a type nobody knows":        {marketplace.SQS, "", swap("License Updated", "License Teleported"), fault.Unreadable},
		"a licence event without it": {marketplace.SQS, "", swap("arn:x:l-1", ""), fault.Unreadable},
	}
	for name, c := range cases {
		_, err := deliver(c.ch, c.key, c.body)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Class != c.class || (c.class == fault.Unreadable && f.Public == "") {
			t.Errorf("%s: %v, want %s", name, err, c.class)
		}
	}
	ended := func(status string) string {
		return `{"id":"e2","detail-type":"Purchase Agreement Ended - Proposer","source":"aws.agreement-marketplace","account":"` + w.config.SellerAccount +
			`","time":"2026-11-03T00:00:00Z","detail":{"agreement":{"id":"agmt-1","status":"` + status + `"},"resaleAuthorization":{"id":null}}}`
	}
	for status, want := range map[string]marketplace.EventKind{
		"CANCELLED": marketplace.Ending, "EXPIRED": marketplace.Ending, "TERMINATED": marketplace.Ending, "RENEWED": marketplace.Renewed, "REPLACED": marketplace.Renewed,
	} {
		events, err := deliver(marketplace.SQS, "", ended(status))
		if err != nil || events[0].Kind != want || events[0].Ref.Agreement != "agmt-1" {
			t.Errorf("ended %s: %+v %v", status, events, err)
		}
	}
	if _, err := deliver(marketplace.SQS, "", ended("VANISHED")); fault.ClassOf(err) != fault.Unreadable {
		t.Errorf("an unknown end was guessed: %v", err)
	}
}

func TestRulesKnowTheMonthCut(t *testing.T) {
	t.Parallel()
	r := setup(t).adapter.Rules("tailnet")
	last := clock.HourOf(time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC))
	if got, want := r.Deadline(last), time.Date(2026, 12, 1, 6, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the month's last hour is taken until %s, want %s", got, want)
	}
	mid := clock.HourOf(time.Date(2026, 11, 10, 5, 0, 0, 0, time.UTC))
	if got, want := r.Deadline(mid), mid.Start().Add(24*time.Hour); !got.Equal(want) {
		t.Errorf("deadline %s, want %s", got, want)
	}
}

func TestOpenListsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := aws.Config{SellerAccount: "12", AccessKeyID: "x"}.Open(t.Context(), http.DefaultClient, slog.New(slog.DiscardHandler), time.Now)
	if err == nil {
		t.Fatal("opened")
	}
	for _, part := range []string{"region", "12 digits", "event key, queue URL", "at least one product", "both or neither"} {
		if !contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
}

func contains(s, part string) bool { return strings.Contains(s, part) }

func replace(t *testing.T, b []byte, from, to string) []byte {
	t.Helper()
	if !bytes.Contains(b, []byte(from)) {
		t.Fatalf("%q is not there", from)
	}
	return bytes.ReplaceAll(b, []byte(from), []byte(to))
}
