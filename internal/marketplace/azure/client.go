package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/uuid"
)

const (
	apiVersion = "2018-08-31" // the only one there is
	scope      = marketplaceApp + "/.default"
	maxAnswer  = 8 << 20 // a page of 100 subscriptions has some 200 KB
)

// client makes calls, each exactly once: azcore's pipeline without its retries,
// which would repeat a POST.
type client struct {
	plain   *http.Client // without our token: the directory
	handed  *http.Client
	open    func(*http.Client) (azcore.TokenCredential, error)
	log     *slog.Logger
	mu      sync.Mutex
	session *session
}

// session is a credential with what it caches.
type session struct {
	pipeline runtime.Pipeline
	worked   atomic.Bool // a call with it was not refused
}

func newClient(hc *http.Client, open func(*http.Client) (azcore.TokenCredential, error), log *slog.Logger) (*client, error) {
	next := hc.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	plain, handed := *hc, *hc
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a second request that nobody recorded
	plain.CheckRedirect, handed.CheckRedirect = stay, stay
	plain.Transport, handed.Transport = bounded{next}, handover{bounded{next}}
	c := &client{plain: &plain, handed: &handed, open: open, log: log}
	var err error
	c.session, err = c.begin()
	return c, err
}

func (c *client) begin() (*session, error) {
	cred, err := c.open(c.plain)
	if err != nil {
		return nil, err
	}
	bearer := runtime.NewBearerTokenPolicy(cred, []string{scope}, nil)
	return &session{pipeline: runtime.NewPipeline("tailmarket", "", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, &policy.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: -1}, Telemetry: policy.TelemetryOptions{Disabled: true}, Transport: c.handed,
	})}, nil
}

// renew drops a session whose token was refused, so that the caller's next try
// asks for a new token: the directory's library keeps an old one until it
// expires. A session that never worked is kept: a wrong setting is not mended by
// asking the directory again and again.
func (c *client) renew(refused *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != refused || !refused.worked.Load() {
		return
	}
	s, err := c.begin()
	if err != nil {
		c.log.Error("credential could not be made again", "error", err)
		return
	}
	c.session = s
}

func (c *client) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// call is one request.
type call struct {
	method, base, path string
	query              url.Values
	header             map[string]string
	body               any
}

// do makes the call and reads the answer into into, which may be nil. An answer
// outside 2xx is an *answer error; anything else never got one.
func (c *client) do(ctx context.Context, in call, into any) error {
	query := url.Values{"api-version": {apiVersion}}
	for k, v := range in.query {
		query[k] = v
	}
	req, err := runtime.NewRequest(ctx, in.method, in.base+in.path+"?"+query.Encode())
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	requestID := uuid.NewString()
	header := req.Raw().Header
	header.Set("Accept", "application/json")
	header.Set("Content-Type", "application/json")
	header.Set("X-Ms-Requestid", requestID)
	header.Set("X-Ms-Correlationid", uuid.NewString())
	for k, v := range in.header {
		header.Set(k, v)
	}
	if in.body != nil {
		if err := runtime.MarshalAsJSON(req, in.body); err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
	}
	s := c.current()
	resp, err := s.pipeline.Do(req)
	if err != nil {
		return fmt.Errorf("request %s: %w", requestID, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := runtime.Payload(resp)
	if err != nil {
		return fmt.Errorf("read the answer to request %s: %w", requestID, err)
	}
	if resp.StatusCode/100 != 2 {
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			c.renew(s)
		}
		return readAnswer(resp, body, requestID)
	}
	s.worked.Store(true)
	if into == nil {
		return nil
	}
	if err := readJSON(body, into); err != nil {
		return fmt.Errorf("read the answer to request %s: %w", requestID, err)
	}
	return nil
}

var errEmpty = errors.New("the answer is empty")

func readJSON(body []byte, into any) error {
	if len(bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))) == 0 {
		return errEmpty
	}
	return json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), into)
}

// handed is set when a request is handed to the connection. The directory's
// requests, which go before it in the same context, do not count.
type handed struct{ atomic.Bool }

type handedKey struct{}

func withHanded(ctx context.Context) (context.Context, *handed) {
	h := new(handed)
	return context.WithValue(ctx, handedKey{}, h), h
}

// handover notes that a request is about to leave.
type handover struct{ next http.RoundTripper }

func (h handover) RoundTrip(r *http.Request) (*http.Response, error) {
	if sent, ok := r.Context().Value(handedKey{}).(*handed); ok {
		sent.Store(true)
	}
	return h.next.RoundTrip(r)
}

// bounded cuts answers that have no end; what is cut cannot be read as JSON.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil && resp.Body != nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}
