package identity

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"golang.org/x/oauth2"

	"github.com/tailmarket/tailmarket/internal/fault"
)

const (
	microsoft   = "https://login.microsoftonline.com"
	attemptLife = 15 * time.Minute // wall time between the button and the way back; a second factor takes a while
	attemptName = "tm_sign_in_"    // and the beginning of its state: one browser may have several under way
	maxDocument = 256 << 10
)

// MicrosoftConfig is the app by which buyers sign in with work, school and personal
// accounts of any tenant. It proves itself by one of secret, certificate and token.
type MicrosoftConfig struct {
	ClientID           string
	ClientSecret       string
	Certificate        []byte // PEM, with its private key
	FederatedTokenFile string
	Authority          string // empty: Microsoft Entra itself
	Redirect           string // our address that the app is registered with
}

// Sealer encrypts what a browser keeps for us; context names what it is.
type Sealer interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Microsoft is the sign-in of the Microsoft marketplace's buyers: OpenID Connect by
// the code flow with PKCE. It keeps nothing between Begin and Finish but a sealed
// cookie, so any replica may take the way back. Safe for concurrent use.
type Microsoft struct {
	c     MicrosoftConfig
	oauth oauth2.Config
	cert  *tls.Certificate
	hc    *http.Client
	seal  Sealer
	now   func() time.Time // business time, in which tokens end
	wall  func() time.Time
}

// Open checks c and makes no call.
func (c MicrosoftConfig) Open(hc *http.Client, seal Sealer, now, wall func() time.Time) (*Microsoft, error) {
	c.Authority = strings.TrimSuffix(cmp.Or(c.Authority, microsoft), "/")
	m := &Microsoft{c: c, hc: hc, seal: seal, now: now, wall: wall}
	if c.ClientSecret == "" && c.FederatedTokenFile == "" {
		cert, err := tls.X509KeyPair(c.Certificate, c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of the app that signs buyers in: %w", err)
		}
		m.cert = &cert
	}
	common := c.Authority + "/common/oauth2/v2.0"
	m.oauth = oauth2.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURL: c.Redirect, Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
		Endpoint: oauth2.Endpoint{AuthURL: common + "/authorize", TokenURL: common + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	return m, nil
}

// Attempt is one way to the sign-in and back: where the browser goes, and the cookie
// that it brings back.
type Attempt struct {
	Address, Name, Value string
	Life                 time.Duration
}

// attempt is what the cookie seals.
type attempt struct {
	State, Nonce, Verifier string
	Visit                  string // that the sign-in is for
	Until                  time.Time
}

// Begin starts a sign-in for a visit. choose asks for the account even if the
// browser is signed in with one, as after a sign-in with the wrong one.
func (m *Microsoft) Begin(visit string, choose bool) (Attempt, error) {
	a := attempt{State: newToken(), Nonce: newToken(), Verifier: oauth2.GenerateVerifier(), Visit: visit, Until: m.wall().Add(attemptLife)}
	out := Attempt{Name: cookieOf(a.State), Life: attemptLife}
	plain, err := json.Marshal(a)
	if err != nil {
		return Attempt{}, fmt.Errorf("begin a sign-in: %w", err)
	}
	sealed, err := m.seal.Seal(plain, out.Name)
	if err != nil {
		return Attempt{}, fmt.Errorf("begin a sign-in: %w", err)
	}
	out.Value = base64.RawURLEncoding.EncodeToString(sealed)
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier), oauth2.SetAuthURLParam("response_mode", "query")}
	if choose {
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	out.Address = m.oauth.AuthCodeURL(a.State, options...)
	return out, nil
}

// cookieOf is the name of the cookie that belongs to a state.
func cookieOf(state string) string { return attemptName + state[:min(len(state), 10)] }

// Person is who signed in.
type Person struct {
	ID      string // tenant/object in lower case: a marketplace's word for a person, unlike the address, never given to another
	Address string // as the directory has it, which does not prove it; may be empty
}

// Finish takes the browser back: answer is what the address carries, cookie what the
// browser kept by a name. visit is what the sign-in was for, known from the cookie
// even when the sign-in failed; "" when the browser did not begin it.
//
// Gone: not begun in this browser, or too long ago. Conflict: spent. Denied: the
// person declined. Refused: an administrator must agree first. Forged: the answer is
// not Microsoft's to us for this sign-in. Unavailable: Microsoft does not answer. Of
// no class: the app's registration or credential is not right.
func (m *Microsoft) Finish(ctx context.Context, answer url.Values, cookie func(name string) string) (visit string, who Person, err error) {
	a, ok := m.opened(answer.Get("state"), cookie)
	switch {
	case !ok:
		return "", who, fault.New(fault.Gone, "This sign-in was not begun in this browser, or it took too long.")
	case !m.wall().Before(a.Until):
		return a.Visit, who, fault.New(fault.Gone, "This sign-in took too long.")
	case answer.Has("error"):
		return a.Visit, who, refusal(answer.Get("error"), answer.Get("error_description"))
	}
	raw, err := m.redeem(ctx, answer.Get("code"), a.Verifier)
	if err != nil {
		return a.Visit, who, err
	}
	who, err = m.check(ctx, raw, a.Nonce)
	return a.Visit, who, err
}

// opened is the attempt that a state belongs to.
func (m *Microsoft) opened(state string, cookie func(name string) string) (a attempt, ok bool) {
	name := cookieOf(state)
	sealed, err := base64.RawURLEncoding.DecodeString(cookie(name))
	if err != nil || len(sealed) == 0 {
		return a, false
	}
	plain, err := m.seal.Open(sealed, name)
	if err != nil || json.Unmarshal(plain, &a) != nil {
		return attempt{}, false
	}
	return a, subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) == 1
}

// redeem turns the code into an id token.
func (m *Microsoft) redeem(ctx context.Context, code, verifier string) (string, error) {
	proof, err := m.proof()
	if err != nil {
		return "", err
	}
	token, err := m.oauth.Exchange(oidc.ClientContext(ctx, m.hc), code, append(proof, oauth2.VerifierOption(verifier))...)
	if answered, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		switch status := answered.Response.StatusCode; {
		case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
			return "", unavailable(fmt.Errorf("microsoft answered %d", status))
		}
		return "", refusal(answered.ErrorCode, answered.ErrorDescription)
	}
	if err != nil {
		return "", unavailable(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", forged(errors.New("the answer has no id token"))
	}
	return raw, nil
}

// check verifies an id token as Microsoft documents for apps of many tenants: issuer
// and keys are those of the tenant that the token names ("Secure applications and
// APIs by validating claims", 2025).
func (m *Microsoft) check(ctx context.Context, raw, nonce string) (Person, error) {
	tenant, err := tenantOf(raw)
	if err != nil {
		return Person{}, forged(err)
	}
	issuer, keys, err := m.directory(ctx, tenant)
	if err != nil {
		return Person{}, err
	}
	token, err := oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: m.c.ClientID, SupportedSigningAlgs: []string{oidc.RS256}, Now: m.now}).Verify(ctx, raw)
	switch {
	case err != nil:
		return Person{}, forged(err)
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return Person{}, forged(errors.New("the token is of another sign-in"))
	}
	var claims struct{ Oid, Email string }
	if err := token.Claims(&claims); err != nil {
		return Person{}, forged(err)
	}
	if uuid.Validate(claims.Oid) != nil {
		return Person{}, forged(errors.New("the token names nobody"))
	}
	return Person{ID: tenant + "/" + strings.ToLower(claims.Oid), Address: claims.Email}, nil
}

// tenantOf reads which tenant a token says it is of; nothing is proved yet.
func tenantOf(raw string) (string, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", errors.New("the id token is none")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Tid string }
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err == nil && uuid.Validate(claims.Tid) != nil {
		err = errors.New("the id token is of no tenant")
	}
	return strings.ToLower(claims.Tid), err
}

// directory asks a tenant's directory for its issuer and keys. Sign-ins are rare, so
// nothing is kept, and no key is older than its use.
func (m *Microsoft) directory(ctx context.Context, tenant string) (issuer string, keys *oidc.StaticKeySet, err error) {
	address := m.c.Authority + "/" + tenant + "/v2.0"
	var said struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := m.get(ctx, address+"/.well-known/openid-configuration", &said); err != nil {
		return "", nil, err
	}
	// Another authority, such as a national cloud's, has its own name for itself.
	if m.c.Authority == microsoft && said.Issuer != address || !strings.HasSuffix(said.Issuer, "/"+tenant+"/v2.0") || !strings.HasPrefix(said.JWKSURI, "https://") {
		return "", nil, forged(errors.New("the directory is not that of the token's tenant"))
	}
	var published struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := m.get(ctx, said.JWKSURI, &published); err != nil {
		return "", nil, err
	}
	keys = &oidc.StaticKeySet{}
	for _, text := range published.Keys {
		var of struct{ Issuer string }
		var key jose.JSONWebKey
		if json.Unmarshal(text, &of) != nil || json.Unmarshal(text, &key) != nil || !key.IsPublic() {
			continue // of a kind that we do not take
		}
		// A key is good for the issuer it names: those of personal accounts sign for no
		// organisation.
		if strings.ReplaceAll(cmp.Or(of.Issuer, said.Issuer), "{tenantid}", tenant) == said.Issuer {
			keys.PublicKeys = append(keys.PublicKeys, key.Key)
		}
	}
	return said.Issuer, keys, nil
}

// get reads a public document of the directory.
func (m *Microsoft) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the directory: %w", err)
	}
	resp, err := m.hc.Do(req)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusNotFound {
		return forged(errors.New("the token's tenant has no directory"))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		return unavailable(fmt.Errorf("the directory answered %d: %w", resp.StatusCode, err))
	}
	return nil
}

// What the directory says when an administrator must act first: consent to the app,
// assign it, or let it through ("Microsoft Entra authentication and authorization
// error codes", 2025). 65004 is the person's own no.
var (
	aadsts  = regexp.MustCompile(`AADSTS([0-9]+)`)
	byAdmin = []string{"65001", "90093", "90094", "90095", "50105", "53000", "53003"}
)

// refusal classifies an error of the sign-in page or the token endpoint. Only its
// codes are kept: descriptions hold addresses.
func refusal(code, description string) error {
	number := ""
	if found := aadsts.FindStringSubmatch(description); found != nil {
		number = found[1]
	}
	cause := fmt.Errorf("microsoft refused the sign-in: %.40q %s", code, number)
	switch {
	case slices.Contains(byAdmin, number), code == "consent_required":
		return fault.Wrap(fault.Refused, cause, "An administrator of your organisation must agree first.")
	case code == "access_denied", code == "login_required", code == "interaction_required", code == "account_selection_required":
		return fault.Wrap(fault.Denied, cause, "Nobody signed in.")
	case code == "invalid_grant":
		return fault.Wrap(fault.Conflict, cause, "This sign-in was used already, or it took too long.")
	case code == "temporarily_unavailable", code == "server_error":
		return unavailable(cause)
	}
	return cause
}

func forged(cause error) error {
	return fault.Wrap(fault.Forged, fmt.Errorf("check who signed in: %w", cause), "We could not confirm who signed in.")
}

func unavailable(cause error) error {
	return fault.Wrap(fault.Unavailable, fmt.Errorf("reach microsoft's sign-in: %w", cause), "Microsoft's sign-in does not answer right now.")
}
