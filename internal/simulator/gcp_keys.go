package simulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strconv"
	"sync"
	"time"
)

// Google's names for who signs what (gcp.md 1.3, 3.4).
const (
	partnerAccount = "cloud-commerce-partner@system.gserviceaccount.com"
	signUpIssuer   = "https://www.googleapis.com/robot/v1/metadata/x509/" + partnerAccount
	pushIssuer     = "https://accounts.google.com"
)

const (
	signUpLife  = 5 * time.Minute
	pushLife    = time.Hour
	pushReuse   = 10 * time.Minute // a push token serves many messages
	keyRotation = 12 * time.Hour
)

// gcpSigners are the private keys of the marketplace, of the push tokens and of the vendor's service account. They are
// made once in a process, at first use, because they cost more than everything else a simulator does.
var gcpSigners = sync.OnceValues(func() (keys struct{ partner, accounts, vendor *rsa.PrivateKey }, err error) {
	for _, key := range []**rsa.PrivateKey{&keys.partner, &keys.accounts, &keys.vendor} {
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, fmt.Errorf("make a google signing key: %w", err)
		}
	}
	return keys, nil
})

// signJWT signs claims with RS256. A header without typ is legal, and Google's may lack it.
func signJWT(key *rsa.PrivateKey, kid string, typ bool, claims map[string]any) (string, error) {
	header := map[string]any{"alg": "RS256", "kid": kid}
	if typ {
		header["typ"] = "JWT"
	}
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("write token header: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("write token claims: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// gcpKeys is which keys are in use. A rotation gives the same key a new name: who keeps keys by name cannot tell.
type gcpKeys struct {
	epoch   int
	rotated time.Time
	certs   map[string]string // by kid
}

// kid is the name of the key that signs as who in an epoch.
func (m *gcpMarket) kid(who string, epoch int) string {
	return m.s.faults.hex(20, "google key", who, strconv.Itoa(epoch))
}

// rotate changes the names of the keys when it is time for it; the lock is held.
func (m *gcpMarket) rotate() {
	f := m.s.faults
	if m.keys.rotated.IsZero() {
		m.keys.rotated = m.s.o.Start
	}
	due := f.weather == WeatherHostile && !f.off[KindKeyRotation] && !m.s.now.Before(m.keys.rotated.Add(keyRotation))
	if due || f.force(KindKeyRotation, "google keys") {
		m.keys.epoch++
		m.keys.rotated = m.s.now
		f.met[KindKeyRotation]++
	}
}

// published are the names in use: the newest and the one before, under which tokens are still about.
func (m *gcpMarket) published(who string) []string {
	kids := []string{m.kid(who, m.keys.epoch)}
	if m.keys.epoch > 0 {
		kids = append(kids, m.kid(who, m.keys.epoch-1))
	}
	return kids
}

// signUp mints the token of one click on the console's button; the lock is held.
func (m *gcpMarket) signUp(e *gcpEntitlement) string {
	m.rotate()
	keys, err := gcpSigners()
	if err != nil {
		m.s.log.Error("token not signed", "error", err)
		return ""
	}
	google := map[string]any{"user_identity": e.account.identity, "roles": []string{"account_admin"}}
	if orders := m.orders(e.account); len(orders) > 1 {
		google["orders"] = orders
	}
	t, err := signJWT(keys.partner, m.kid("partner", m.keys.epoch), m.s.faults.chance("typ", e.id) < 0.5, map[string]any{
		"iss": signUpIssuer, "iat": m.s.now.Unix(), "exp": m.s.now.Add(signUpLife).Unix(), "aud": m.o.Audience,
		"sub": e.account.id, "google": google,
	})
	if err != nil {
		m.s.log.Error("token not signed", "error", err)
	}
	return t
}

// orders lists an account's orders as the claim does; whether its elements are strings or objects nobody has written down.
func (m *gcpMarket) orders(a *gcpAccount) []any {
	var out []any
	for _, e := range m.entitlements {
		switch {
		case e.account != a:
		case m.s.faults.chance("orders", a.id) < 0.5:
			out = append(out, e.orderID)
		default:
			out = append(out, map[string]any{"id": e.orderID})
		}
	}
	return out
}

// pushToken is the bearer token of a push; the lock is held.
func (m *gcpMarket) pushToken() string {
	epoch := m.keys.epoch
	if m.rotate(); m.push.token != "" && epoch == m.keys.epoch && m.s.now.Before(m.push.minted.Add(pushReuse)) && m.push.audience == m.pushAudience() {
		return m.push.token
	}
	keys, err := gcpSigners()
	if err == nil {
		m.push.minted, m.push.audience = m.s.now, m.pushAudience()
		m.push.token, err = signJWT(keys.accounts, m.kid("accounts", m.keys.epoch), true, m.pushClaims())
	}
	if err != nil {
		m.s.log.Error("push token not signed", "error", err)
	}
	return m.push.token
}

func (m *gcpMarket) pushClaims() map[string]any {
	sub := fmt.Sprintf("1%020d", m.s.faults.draw("push account")%1e18)
	return map[string]any{
		"iss": pushIssuer, "aud": m.pushAudience(), "sub": sub, "azp": sub, "email": m.o.PushAccount, "email_verified": true,
		"iat": m.s.now.Unix(), "exp": m.s.now.Add(pushLife).Unix(),
	}
}

// forgedToken is almost a push token: by draw it lacks the right signature, audience, issuer, account, or life.
func (m *gcpMarket) forgedToken(draw uint64) string {
	keys, err := gcpSigners()
	if err != nil {
		m.s.log.Error("token not forged", "error", err)
		return ""
	}
	claims, key := m.pushClaims(), keys.accounts
	switch draw % 6 {
	case 0:
		key = keys.vendor
	case 1:
		claims["aud"] = "https://elsewhere.example/gcp/events"
	case 2:
		claims["iss"] = "https://accounts.elsewhere.example"
	case 3:
		claims["email"] = "somebody@elsewhere.iam.gserviceaccount.com"
	case 4:
		claims["email_verified"] = false
	case 5:
		claims["iat"], claims["exp"] = m.s.now.Add(-3*time.Hour).Unix(), m.s.now.Add(-2*time.Hour).Unix()
	}
	t, err := signJWT(key, m.kid("accounts", m.keys.epoch), true, claims)
	if err != nil {
		m.s.log.Error("token not forged", "error", err)
	}
	return t
}

// x509Keys is the document at the issuer's address: key id to certificate.
func (m *gcpMarket) x509Keys() (map[string]string, error) {
	keys, err := gcpSigners()
	if err != nil {
		return nil, err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	out := map[string]string{}
	for _, kid := range m.published("partner") {
		if m.keys.certs[kid] == "" {
			subject := &x509.Certificate{
				SerialNumber: big.NewInt(int64(len(m.keys.certs) + 1)), Subject: pkix.Name{CommonName: partnerAccount},
				NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
				KeyUsage: x509.KeyUsageDigitalSignature,
			}
			der, err := x509.CreateCertificate(rand.Reader, subject, subject, &keys.partner.PublicKey, keys.partner)
			if err != nil {
				return nil, fmt.Errorf("make certificate of a google key: %w", err)
			}
			m.keys.certs[kid] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
		out[kid] = m.keys.certs[kid]
	}
	return out, nil
}

// jwks is the same as a JSON web key set; who is partner or accounts.
func (m *gcpMarket) jwks(who string) (map[string]any, error) {
	keys, err := gcpSigners()
	if err != nil {
		return nil, err
	}
	pub := keys.accounts.PublicKey
	if who == "partner" {
		pub = keys.partner.PublicKey
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	set := []map[string]string{}
	for _, kid := range m.published(who) {
		set = append(set, map[string]string{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
			"n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		})
	}
	return map[string]any{"keys": set}, nil
}
