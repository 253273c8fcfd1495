package simulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// gcpError is an error in Google's standard body.
type gcpError struct {
	code    int
	status  string
	message string
}

func (e *gcpError) Error() string { return e.status + ": " + e.message }

func gcpRefuse(code int, status, format string, args ...any) *gcpError {
	return &gcpError{code: code, status: status, message: fmt.Sprintf(format, args...)}
}

func invalidArgument(format string, args ...any) *gcpError {
	return gcpRefuse(http.StatusBadRequest, "INVALID_ARGUMENT", format, args...)
}

func failedPrecondition(format string, args ...any) *gcpError {
	return gcpRefuse(http.StatusBadRequest, "FAILED_PRECONDITION", format, args...)
}

func unavailable() *gcpError {
	return gcpRefuse(http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.")
}

// gcpCall is one REST request.
type gcpCall struct {
	*http.Request
	op       string
	resource string // the last part of the path, without its verb
	body     []byte
}

// decode reads the body; Google refuses what it does not know.
func (c *gcpCall) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(c.body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return invalidArgument("Invalid JSON payload received. %v", err)
	}
	return nil
}

// server is the one port of all of Google's services: gRPC for Pub/Sub, REST for the rest.
func (m *gcpMarket) server() *http.Server {
	rest, grpc := m.routes(), m.sub.server()
	return &http.Server{Handler: m.s.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			grpc.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	}))}
}

// routes of Google: a verb such as :approve is part of the last path segment.
func (m *gcpMarket) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, op string, verbs map[string]func(*gcpCall) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { m.handle(w, r, op, verbs) })
	}
	handle("GET /v1/providers/{provider}/accounts", "accounts.", map[string]func(*gcpCall) (any, error){"": m.listAccounts})
	handle("GET /v1/providers/{provider}/accounts/{id}", "accounts.", map[string]func(*gcpCall) (any, error){"": m.getAccount})
	handle("POST /v1/providers/{provider}/accounts/{id}", "accounts.", map[string]func(*gcpCall) (any, error){
		"approve": m.approveAccount, "reject": m.rejectAccount, "reset": m.resetAccount,
	})
	handle("GET /v1/providers/{provider}/entitlements", "entitlements.", map[string]func(*gcpCall) (any, error){"": m.listEntitlements})
	handle("GET /v1/providers/{provider}/entitlements/{id}", "entitlements.", map[string]func(*gcpCall) (any, error){"": m.getEntitlement})
	handle("PATCH /v1/providers/{provider}/entitlements/{id}", "entitlements.", map[string]func(*gcpCall) (any, error){"": m.patchEntitlement})
	handle("POST /v1/providers/{provider}/entitlements/{id}", "entitlements.", map[string]func(*gcpCall) (any, error){
		"approve": m.approveEntitlement, "reject": m.rejectEntitlement,
		"approvePlanChange": m.approvePlanChange, "rejectPlanChange": m.rejectPlanChange, "suspend": m.suspendEntitlement,
	})
	handle("POST /v1/services/{id}", "services.", map[string]func(*gcpCall) (any, error){"check": m.check, "report": m.report})
	open := func(pattern string, answer func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			m.s.begin()
			defer m.s.end()
			out, err := answer(r)
			w.Header().Set("Cache-Control", "public, max-age=19200, must-revalidate, no-transform")
			m.answer(w, out, err)
		})
	}
	open("GET /robot/v1/metadata/x509/"+partnerAccount, func(*http.Request) (any, error) { return m.x509Keys() })
	open("GET /robot/v1/metadata/jwk/"+partnerAccount, func(*http.Request) (any, error) { return m.jwks("partner") })
	open("GET /oauth2/v3/certs", func(*http.Request) (any, error) { return m.jwks("accounts") })
	open("POST /token", m.token)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		m.answer(w, nil, gcpRefuse(http.StatusNotFound, "NOT_FOUND", "Method not found."))
	})
	return mux
}

func (m *gcpMarket) handle(w http.ResponseWriter, r *http.Request, op string, verbs map[string]func(*gcpCall) (any, error)) {
	id, verb, _ := strings.Cut(r.PathValue("id"), ":")
	do := verbs[verb]
	if do == nil {
		m.answer(w, nil, gcpRefuse(http.StatusNotFound, "NOT_FOUND", "Method not found."))
		return
	}
	m.s.begin()
	defer m.s.end()
	c := &gcpCall{Request: r, op: op + opName(r.Method, id, verb), resource: id}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return
	}
	c.body = body
	var out any
	switch refused := m.authorized(r.Header.Get("Authorization")); {
	case refused != nil:
		err = refused
	case len(body) > maxBody:
		err = invalidArgument("Request payload size exceeds the limit: %d bytes.", maxBody)
	case r.PathValue("provider") != "" && r.PathValue("provider") != m.o.Provider:
		err = gcpRefuse(http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission")
	default:
		m.s.tell(c.op, "received")
		if out, err = do(c); errors.Is(err, errCut) {
			m.s.tell(c.op, "answered")
			panic(http.ErrAbortHandler) // net/http's way to cut a connection without an answer
		}
	}
	m.answer(w, out, err)
	if err := http.NewResponseController(w).Flush(); err != nil {
		m.s.log.Debug("answer not flushed", "error", err)
	}
	m.s.tell(c.op, "answered")
}

// opName is how an operation is called: approve, get, list, patch.
func opName(method, id, verb string) string {
	switch {
	case verb != "":
		return verb
	case method == http.MethodPatch:
		return "patch"
	case id == "":
		return "list"
	default:
		return "get"
	}
}

func (m *gcpMarket) answer(w http.ResponseWriter, out any, err error) {
	code := http.StatusOK
	if err != nil {
		var e *gcpError
		if !errors.As(err, &e) {
			e = gcpRefuse(http.StatusInternalServerError, "INTERNAL", "%v", err)
		}
		code = e.code
		out = map[string]any{"error": map[string]any{"code": e.code, "message": e.message, "status": e.status}}
	}
	body, err := json.Marshal(out)
	if err != nil {
		m.s.log.Error("answer not written", "error", err)
		code, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// weather throttles or breaks a reading call by seed; half of each. The lock is held.
func (m *gcpMarket) weather(c *gcpCall) error {
	subject := c.op + "|" + c.resource + "|" + c.URL.Query().Get("filter") + "|" + c.URL.Query().Get("pageToken")
	if !m.s.faults.try(KindReadFault, subject) {
		return nil
	}
	if m.s.faults.chance("which", string(KindReadFault), subject) < 0.5 {
		return gcpRefuse(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded.")
	}
	return unavailable()
}

// decided does what a deciding call asks for, by seed with a 503 instead of the answer: before it was done or after. The
// lock is held.
func (m *gcpMarket) decided(c *gcpCall, do func() error) (any, error) {
	subject := c.op + "|" + c.resource
	lost := m.s.faults.try(KindDecisionFault, subject)
	if lost && m.s.faults.chance("which", string(KindDecisionFault), subject) < 0.5 {
		return nil, unavailable()
	}
	if err := do(); err != nil {
		return nil, err
	}
	if lost {
		return nil, unavailable()
	}
	return struct{}{}, nil
}

// authorized refuses a call without an access token, or with one that was not made from the simulator's credentials if
// that is wanted. Their expiry is wall time, which the simulator does not have.
func (m *gcpMarket) authorized(header string) *gcpError {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if header == "" && m.o.Anonymous {
		return nil
	}
	if !ok || token == "" {
		return gcpRefuse(http.StatusUnauthorized, "UNAUTHENTICATED", "Request is missing required authentication credential.")
	}
	if !m.o.VerifyCredentials {
		return nil
	}
	m.s.mu.Lock()
	issued := token == m.accessToken()
	m.s.mu.Unlock()
	if _, err := m.verifyOwn(token); !issued && err != nil {
		return gcpRefuse(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
	}
	return nil
}

// accessToken is what the token endpoint gives; the lock is held.
func (m *gcpMarket) accessToken() string { return "ya29." + m.s.faults.hex(32, "google access token") }

func (m *gcpMarket) vendorAccount() string {
	return "tailmarket@example-backend.iam.gserviceaccount.com"
}

// credentials is a service account key file whose token endpoint is the simulator's.
func (m *gcpMarket) credentials() ([]byte, error) {
	keys, err := gcpSigners()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(keys.vendor)
	if err != nil {
		return nil, fmt.Errorf("write service account key: %w", err)
	}
	return json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": "example-backend", "private_key_id": m.kid("vendor", 0),
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": m.vendorAccount(), "client_id": fmt.Sprintf("1%020d", m.s.faults.draw("vendor account")%1e18),
		"auth_uri": m.s.url(GCP) + "/auth", "token_uri": m.s.url(GCP) + "/token", "universe_domain": "googleapis.com",
	}, "", "  ")
}

// token is the OAuth endpoint for service accounts (RFC 7523): a signed assertion for an access token.
func (m *gcpMarket) token(r *http.Request) (any, error) {
	if grant := r.FormValue("grant_type"); grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return nil, invalidArgument("unsupported_grant_type: %q", grant)
	}
	claims, err := m.verifyOwn(r.FormValue("assertion"))
	if err != nil {
		return nil, invalidArgument("invalid_grant: %v", err)
	}
	if claims.Audience != m.s.url(GCP)+"/token" {
		return nil, invalidArgument("invalid_grant: the assertion is for %q", claims.Audience)
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return map[string]any{"access_token": m.accessToken(), "expires_in": 3599, "token_type": "Bearer"}, nil
}

type ownClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// verifyOwn checks a token that the vendor's service account signed: an assertion, or an access token it made itself.
func (m *gcpMarket) verifyOwn(token string) (claims ownClaims, err error) {
	keys, err := gcpSigners()
	if err != nil {
		return claims, err
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims, fmt.Errorf("the token has %d parts", len(parts))
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return claims, fmt.Errorf("signature: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&keys.vendor.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
		return claims, fmt.Errorf("signature: %w", err)
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	switch {
	case err != nil:
		return claims, fmt.Errorf("claims: %w", err)
	case claims.Issuer != m.vendorAccount():
		return claims, fmt.Errorf("issuer %q", claims.Issuer)
	case claims.Expires <= claims.Issued || claims.Expires-claims.Issued > int64((time.Hour+time.Minute).Seconds()):
		return claims, fmt.Errorf("a life of %d s", claims.Expires-claims.Issued)
	}
	return claims, nil
}
