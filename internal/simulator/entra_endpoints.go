package simulator

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entraCode is a sign-in that waits to be redeemed.
type entraCode struct {
	client, redirect, nonce, challenge string
	who                                azureParty
	at                                 time.Time
}

// codeLife is how long a code may be redeemed.
const codeLife = 10 * time.Minute

// signedIn is the cookie by which the directory knows who sits at a browser.
const signedIn = "ESTSAUTH"

// directory adds the endpoints of Entra for the publisher's tenant, for any other tenant's sign-in, and for "common",
// "organizations" and "consumers", whose issuer has a placeholder in the tenant's place.
func (m *azureMarket) directory(mux *http.ServeMux) {
	for pattern, do := range map[string]func(w http.ResponseWriter, r *http.Request){
		"GET /{tenant}/.well-known/openid-configuration":      func(w http.ResponseWriter, r *http.Request) { m.discovery(w, r, 1) },
		"GET /{tenant}/v2.0/.well-known/openid-configuration": func(w http.ResponseWriter, r *http.Request) { m.discovery(w, r, 2) },
		"GET /{tenant}/discovery/keys":                        func(w http.ResponseWriter, r *http.Request) { m.jwks(w, r, 1) },
		"GET /{tenant}/discovery/v2.0/keys":                   func(w http.ResponseWriter, r *http.Request) { m.jwks(w, r, 2) },
		"POST /{tenant}/oauth2/token":                         func(w http.ResponseWriter, r *http.Request) { m.token(w, r, 1) },
		"POST /{tenant}/oauth2/v2.0/token":                    func(w http.ResponseWriter, r *http.Request) { m.token(w, r, 2) },
		"GET /{tenant}/oauth2/v2.0/authorize":                 m.authorize,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			m.s.begin()
			defer m.s.end()
			m.entra.keys() // made outside the lock
			if m.troubled(r) {
				entraRefuses(w, http.StatusServiceUnavailable, "temporarily_unavailable", "AADSTS90033: A transient error has occurred. Please try again.")
				return
			}
			do(w, r)
		})
	}
}

func (m *azureMarket) troubled(r *http.Request) bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return r.Method == http.MethodPost && m.s.faults.try(KindReadFault, r.URL.Path)
}

func (m *azureMarket) discovery(w http.ResponseWriter, r *http.Request, version int) {
	tenant := r.PathValue("tenant")
	here, path := "https://"+r.Host+"/"+url.PathEscape(tenant), "/oauth2"
	keys := here + "/discovery/keys"
	if version == 2 {
		path, keys = "/oauth2/v2.0", here+"/discovery/v2.0/keys"
	}
	if slices.Contains([]string{"common", "organizations", "consumers"}, tenant) {
		tenant = "{tenantid}"
	}
	answerJSON(w, http.StatusOK, map[string]any{
		"issuer": entraIssuer(tenant, version), "jwks_uri": keys,
		"token_endpoint": here + path + "/token", "authorization_endpoint": here + path + "/authorize",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported": []string{"openid", "profile", "email", "offline_access"},
		"claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver", "email"},
	})
}

func (m *azureMarket) jwks(w http.ResponseWriter, r *http.Request, version int) {
	m.s.mu.Lock()
	keys := []map[string]any{}
	for _, k := range m.entra.published() {
		keys = append(keys, k.jwk(entraIssuer(r.PathValue("tenant"), version)))
	}
	m.s.mu.Unlock()
	answerJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

// token issues access tokens to the publisher's applications and redeems sign-ins.
func (m *azureMarket) token(w http.ResponseWriter, r *http.Request, version int) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	client, secret, basic := r.BasicAuth()
	if !basic {
		client, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	switch {
	case !m.knows(client):
		entraRefuses(w, http.StatusUnauthorized, "unauthorized_client", "AADSTS700016: Application with identifier '%s' was not found in the directory.", client)
	case secret == "" && !asserted(r), secret != "" && secret != m.o.Secret:
		entraRefuses(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	case r.PostFormValue("grant_type") == "client_credentials":
		m.clientToken(w, r, client, version)
	case r.PostFormValue("grant_type") == "authorization_code" && version == 2:
		m.redeem(w, r, client)
	default:
		entraRefuses(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
	}
}

// asserted says whether a certificate or a federated credential vouches for the client. Whose it is, is not checked.
func asserted(r *http.Request) bool {
	return r.PostFormValue("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" &&
		strings.Count(r.PostFormValue("client_assertion"), ".") == 2
}

// knows lists the applications: the account's, the landing page's, and those of single offers.
func (m *azureMarket) knows(client string) bool {
	if client == "" {
		return false
	}
	for i := range m.o.Offers {
		if m.clientOf(&m.o.Offers[i]) == client {
			return true
		}
	}
	return client == m.o.Client || client == m.o.Landing
}

// clientToken is an access token for one resource. Numbers come as texts in the v1 form.
func (m *azureMarket) clientToken(w http.ResponseWriter, r *http.Request, client string, version int) {
	if r.PathValue("tenant") != m.o.Tenant {
		entraRefuses(w, http.StatusBadRequest, "invalid_request", "AADSTS90002: Tenant '%s' not found.", r.PathValue("tenant"))
		return
	}
	resource := r.PostFormValue("resource")
	if version == 2 {
		for _, scope := range strings.Fields(r.PostFormValue("scope")) {
			if app, ok := strings.CutSuffix(scope, "/.default"); ok {
				resource = app
			}
		}
	}
	if resource == "" {
		entraRefuses(w, http.StatusBadRequest, "invalid_scope", "AADSTS70011: The provided request must include a resource or a scope that ends in /.default.")
		return
	}
	e, f, now := m.entra, m.s.faults, m.s.now
	e.issued++
	nth := strconv.Itoa(e.issued)
	token := e.signer().sign(map[string]any{
		"aud": resource, "iss": entraIssuer(m.o.Tenant, 1), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"appid": client, "appidacr": "1", "oid": f.uuid("service principal", client), "sub": f.uuid("service principal", client),
		"tid": m.o.Tenant, "ver": "1.0", "uti": f.lower(22, "uti", nth),
	})
	e.access[token] = entraAccess{client: client, audience: resource}
	out := map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}
	if version == 1 {
		out["expires_in"], out["ext_expires_in"], out["resource"] = "3599", "3599", resource
		out["expires_on"], out["not_before"] = strconv.FormatInt(now.Add(time.Hour).Unix(), 10), strconv.FormatInt(now.Unix(), 10)
	}
	answerJSON(w, http.StatusOK, out)
}

// authorize is the sign-in page. Whom the browser's cookie or the login hint names is sent straight back with a code:
// single sign-on, nothing to consent to.
func (m *azureMarket) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err != nil || !loopback(back.Hostname()) || q.Get("client_id") != m.o.Landing || q.Get("response_type") != "code" {
		http.Error(w, "AADSTS50011: The sign-in request is not valid for the application.", http.StatusBadRequest)
		return
	}
	hint := q.Get("login_hint")
	if c, err := r.Cookie(signedIn); err == nil {
		hint = c.Value
	}
	i := slices.IndexFunc(m.subs, func(sub *saas) bool {
		return sub.beneficiary.object == hint || strings.EqualFold(sub.beneficiary.email, hint)
	})
	answer := url.Values{"state": {q.Get("state")}}
	switch {
	case i < 0 || hint == "":
		answer.Set("error", "login_required")
		answer.Set("error_description", "AADSTS50058: Nobody is signed in.")
	case m.declines(m.subs[i].beneficiary):
		answer.Set("error", "access_denied")
		answer.Set("error_description", "AADSTS65004: User declined to consent to access the app.")
	default:
		e := m.entra
		e.issued++
		code := "0.A" + m.s.faults.lower(40, "code", strconv.Itoa(e.issued))
		e.codes[code] = entraCode{
			client: q.Get("client_id"), redirect: q.Get("redirect_uri"), nonce: q.Get("nonce"), challenge: q.Get("code_challenge"),
			who: m.subs[i].beneficiary, at: m.s.now,
		}
		answer.Set("code", code)
	}
	query := back.Query()
	for name, values := range answer {
		query[name] = values
	}
	back.RawQuery = query.Encode()
	w.Header().Set("Location", back.String())
	w.WriteHeader(http.StatusFound)
}

// declines is the second thought of some at the sight of the sign-in page: they cancel, and come again. The lock is held.
func (m *azureMarket) declines(who azureParty) bool {
	m.entra.signs[who.object]++
	f := m.s.faults
	return f.weather == WeatherHostile && m.entra.signs[who.object] == 1 && f.chance("declines", who.object) < 0.25
}

// loopback says whether a host is this machine; the simulator sends nobody anywhere else.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// redeem turns a code into the tokens of a sign-in, once.
func (m *azureMarket) redeem(w http.ResponseWriter, r *http.Request, client string) {
	e, f, now := m.entra, m.s.faults, m.s.now
	code, ok := e.codes[r.PostFormValue("code")]
	delete(e.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || now.Sub(code.at) > codeLife || code.client != client || code.redirect != r.PostFormValue("redirect_uri") ||
		code.challenge != "" && code.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		entraRefuses(w, http.StatusBadRequest, "invalid_grant", "AADSTS70000: The code is invalid, spent or was made for another request.")
		return
	}
	e.issued++
	claims := map[string]any{
		"aud": client, "iss": entraIssuer(code.who.tenant, 2), "tid": code.who.tenant, "oid": code.who.object, "ver": "2.0",
		"sub": f.lower(40, "subject", code.who.object, client), "preferred_username": code.who.email, "email": code.who.email,
		"name": cmp.Or(strings.Split(code.who.email, "@")[0], "buyer"), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"uti": f.lower(22, "uti", strconv.Itoa(e.issued)),
	}
	if code.nonce != "" {
		claims["nonce"] = code.nonce
	}
	access := e.signer().sign(map[string]any{"aud": "00000003-0000-0000-c000-000000000000", "oid": code.who.object, "uti": claims["uti"]})
	answerJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "scope": "openid profile email", "expires_in": 3599, "ext_expires_in": 3599,
		"access_token": access, "id_token": e.signer().sign(claims),
	})
}

func entraRefuses(w http.ResponseWriter, status int, code, format string, args ...any) {
	answerJSON(w, status, map[string]any{"error": code, "error_description": fmt.Sprintf(format, args...), "error_codes": []int{}})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body := marshal(v)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
