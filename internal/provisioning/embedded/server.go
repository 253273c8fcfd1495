package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/provisioning"
)

// Options is what a Server works with.
type Options struct {
	Store Store
	Now   func() time.Time // business time: what is created, joins and expires
	Wall  func() time.Time // wall time: how long a token lives
	Limit int              // tailnets it makes at most; 0 for any number
	Log   *slog.Logger
}

// Server answers the API. It keeps nothing itself: replicas over one Store are one
// control plane. Safe for concurrent use.
type Server struct{ Options }

// New makes a Server.
func New(o Options) *Server { return &Server{o} }

// Capabilities is what the tailscale driver may expect here.
func Capabilities() provisioning.Capabilities {
	return provisioning.Capabilities{HumanUsers: true, DeviceApproval: true, Dry: true}
}

// Header is on every answer and says whether packets go anywhere: they do not.
const Header = "Tailmarket-Carries-Traffic"

// Handler is the API, under /api/v2. Every call needs a token but the one that
// makes tokens.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	const tn = " /api/v2/tailnet/{tailnet}"
	for pattern, h := range map[string]handler{
		"POST /api/v2/oauth/token": s.token,

		"POST /api/v2/organizations/{org}/tailnets": s.inOrg("tailnets", s.createTailnet),
		"GET /api/v2/organizations/{org}/tailnets":  s.inOrg("tailnets:read", s.listTailnets),
		"DELETE" + tn:                 s.in("all", s.deleteTailnet),
		"GET" + tn + "/acl":           s.in("policy_file:read", s.getPolicy),
		"POST" + tn + "/acl":          s.in("policy_file", s.setPolicy),
		"POST" + tn + "/acl/validate": s.in("policy_file:read", s.validatePolicy),
		"GET" + tn + "/settings":      s.in("feature_settings:read", s.getSettings),
		"PATCH" + tn + "/settings":    s.in("", s.patchSettings), // a scope per field
		"GET" + tn + "/keys":          s.in("", s.listKeys),
		"POST" + tn + "/keys":         s.in("", s.createKey), // a scope per kind
		"GET" + tn + "/keys/{id}":     s.in("", s.getKey),
		"DELETE" + tn + "/keys/{id}":  s.in("", s.deleteKey),
		"GET" + tn + "/users":         s.in("users:read", s.listUsers),
		"GET" + tn + "/devices":       s.in("devices:core:read", s.listDevices),

		"GET /api/v2/device/{id}":             s.onDevice("devices:core:read", s.getDevice),
		"DELETE /api/v2/device/{id}":          s.onDevice("devices:core", s.deleteDevice),
		"POST /api/v2/device/{id}/authorized": s.onDevice("devices:core", s.authorizeDevice),
	} {
		mux.Handle(pattern, s.serve(h))
	}
	mux.Handle("/", s.serve(func(http.ResponseWriter, *http.Request) error { return deny(http.StatusNotFound, "not found") }))
	return mux
}

// Listen opens addr, which must be on loopback, and serves the API and the control
// beside it until ctx ends. url is where; wait returns when it has stopped.
func (s *Server) Listen(ctx context.Context, addr string) (url string, wait func() error, err error) {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", nil, fmt.Errorf("the embedded control plane listens on loopback only, not on %q", addr)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/sim/", s.Control())
	mux.Handle("/", s.Handler())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	stopped := make(chan error, 1)
	go func() {
		select {
		case err := <-done:
			stopped <- err
		case <-ctx.Done():
			// Who calls it has stopped already; what is left are connections that were
			// opened and never used, which Shutdown would wait for.
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			err := srv.Shutdown(grace)
			if errors.Is(err, context.DeadlineExceeded) {
				err = srv.Close()
			}
			if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
				err = errors.Join(err, serveErr)
			}
			stopped <- err
		}
	}()
	return "http://" + l.Addr().String(), func() error { return <-stopped }, nil
}

// Parent answers the organisation's own client, with which tailnets are made. It is
// made when there is none; several processes that start at once agree on one.
func (s *Server) Parent(ctx context.Context) (provisioning.Credential, error) {
	client, secret, ok, err := s.Store.Parent(ctx)
	if err == nil && !ok {
		client, secret, err = s.makeParent(ctx)
	}
	if err != nil {
		return provisioning.Credential{}, fmt.Errorf("get the organisation's client: %w", err)
	}
	return provisioning.Credential{ClientID: client, Secret: secret}, nil
}

func (s *Server) makeParent(ctx context.Context) (client, secret string, err error) {
	t := s.newTailnet("organisation")
	t.Parent = true
	k, secret := s.newClient(t.ID, "organisation", []string{"all"}, nil)
	err = s.Store.EmbeddedTx(ctx, func(ctx context.Context, tx Tx) error {
		added, err := tx.AddTailnet(ctx, t)
		if err != nil || !added {
			return err
		}
		if err := tx.AddKey(ctx, k); err != nil {
			return err
		}
		_, err = tx.KeepParent(ctx, k.ID, secret)
		return err
	})
	if err != nil {
		return "", "", err
	}
	client, secret, ok, err := s.Store.Parent(ctx)
	if err == nil && !ok {
		err = errors.New("it was not kept")
	}
	return client, secret, err
}

// caller is who makes a call: a token, and the tailnet it is of.
type caller struct {
	Token
	tailnet Tailnet
}

type handler func(w http.ResponseWriter, r *http.Request) error

// refusal is an answer that is not 2xx.
type refusal struct {
	status  int
	message string
	data    any
	oauth   string // RFC 6749 error code, for the token endpoint
}

func (r *refusal) Error() string { return r.message }

func deny(status int, format string, args ...any) error {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// serve is the one error edge.
func (s *Server) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(Header, "no")
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		err := h(w, r)
		if err == nil {
			return
		}
		body := map[string]any{}
		status := http.StatusInternalServerError
		if ref, ok := errors.AsType[*refusal](err); ok {
			status = ref.status
			body["message"] = ref.message
			if ref.data != nil {
				body["data"] = ref.data
			}
			if ref.oauth != "" {
				body["error"], body["error_description"] = ref.oauth, ref.message
			}
		} else {
			body["message"] = "internal error"
			s.Log.ErrorContext(r.Context(), "embedded control plane call went wrong", "method", r.Method, "pattern", r.Pattern, "error", err)
		}
		answer(w, status, body)
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // the bodies are our own structs; a reader that has gone needs no answer
}

// ok answers 200 with a JSON body.
func ok(w http.ResponseWriter, body any) error {
	answer(w, http.StatusOK, body)
	return nil
}

// decode reads a JSON body; 400 when it is not one.
func decode(r *http.Request, into any) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return deny(http.StatusBadRequest, "the body cannot be read")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return deny(http.StatusBadRequest, "the body is not the JSON that is expected: %v", err)
	}
	return nil
}

func hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret)) // secrets are random and long: a slow hash would add nothing
	return h[:]
}

func random() string { return rand.Text() }

// authenticate finds the caller of a request: Bearer, or Basic with the token as
// user name.
func (s *Server) authenticate(r *http.Request) (caller, error) {
	secret, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		secret, _, _ = r.BasicAuth()
	}
	if secret == "" {
		return caller{}, deny(http.StatusUnauthorized, "API token missing")
	}
	t, found, err := s.Store.FindToken(r.Context(), hash(secret), s.Wall())
	if err != nil {
		return caller{}, err
	}
	if !found {
		return caller{}, deny(http.StatusUnauthorized, "API token invalid")
	}
	tailnet, found, err := s.Store.FindTailnet(r.Context(), t.Tailnet)
	if err != nil {
		return caller{}, err
	}
	if !found {
		return caller{}, deny(http.StatusUnauthorized, "API token invalid")
	}
	return caller{Token: t, tailnet: tailnet}, nil
}

// may refuses a caller without a scope. A scope includes its :read form, "all"
// every scope, "all:read" every reading.
func (c caller) may(scope string) error {
	base, read := strings.CutSuffix(scope, ":read")
	for _, has := range c.Scopes {
		if has == scope || has == "all" || read && (has == base || has == "all:read") {
			return nil
		}
	}
	return deny(http.StatusForbidden, "token is missing the required scope %s", scope)
}

// in guards a call on a tailnet: the token must be of that tailnet.
func (s *Server) in(scope string, h func(http.ResponseWriter, *http.Request, caller) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := s.authenticate(r)
		if err != nil {
			return err
		}
		switch ref := r.PathValue("tailnet"); {
		case ref == "-", ref == c.tailnet.ID, ref == c.tailnet.DNSName:
		case c.tailnet.Parent:
			return deny(http.StatusForbidden, "not a member of tailnet %s", ref)
		default:
			return deny(http.StatusNotFound, "tailnet not found")
		}
		if scope != "" {
			if err := c.may(scope); err != nil {
				return err
			}
		}
		return h(w, r, c)
	}
}

// inOrg guards a call on the organisation: only its own client may make it.
func (s *Server) inOrg(scope string, h func(http.ResponseWriter, *http.Request, caller) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := s.authenticate(r)
		switch {
		case err != nil:
			return err
		case r.PathValue("org") != "-":
			return deny(http.StatusNotFound, "organization not found")
		case !c.tailnet.Parent:
			return deny(http.StatusForbidden, "actor does not have permission to create tailnets")
		}
		if err := c.may(scope); err != nil {
			return err
		}
		return h(w, r, c)
	}
}
