package simulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strconv"
	"sync"
	"time"
)

// marketplaceApp is the marketplace's own application: the resource of access tokens and the caller in webhook tokens.
const marketplaceApp = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"

// clockSkew is how long before now a token begins.
const clockSkew = 5 * time.Minute

// entra is the directory: it signs with keys of its own and remembers what it issued. Access tokens do not end by virtual
// time, because their holders count wall time.
type entra struct {
	newest int                    // of its keys
	access map[string]entraAccess // by token
	codes  map[string]entraCode
	signs  map[string]int // ins tried, by object
	issued int
}

type entraKey struct {
	id  string
	key *rsa.PrivateKey
}

// entraAccess is an access token's bearer.
type entraAccess struct {
	client   string
	audience string
}

func newEntra() *entra {
	return &entra{access: map[string]entraAccess{}, codes: map[string]entraCode{}, signs: map[string]int{}}
}

// keys are made once a process, when first needed: nothing else the simulator does takes as long.
func (e *entra) keys() [2]*entraKey { return entraKeys() }

var entraKeys = sync.OnceValue(func() [2]*entraKey { return [2]*entraKey{newEntraKey(), newEntraKey()} })

func newEntraKey() *entraKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // 2048 bits and the system's randomness cannot fail
	}
	sum := sha256.Sum256(key.N.Bytes())
	return &entraKey{id: base64.RawURLEncoding.EncodeToString(sum[:20]), key: key}
}

// rollover makes the second key the one that signs. It is published from now on, so who cached the keys meets an unknown
// one. The lock is held.
func (e *entra) rollover() { e.newest = 1 }

// published are the keys of the JWKS documents; the lock is held.
func (e *entra) published() []*entraKey {
	keys := e.keys()
	return keys[:e.newest+1]
}

// stranger is another key under the name of one that is trusted.
func (e *entra) stranger(like *entraKey) *entraKey {
	keys := e.keys()
	other := keys[0]
	if other == like {
		other = keys[1]
	}
	return &entraKey{id: like.id, key: other.key}
}

// signer is the key that signs now; the lock is held.
func (e *entra) signer() *entraKey { return e.keys()[e.newest] }

// sign writes a JWT by RS256.
func (k *entraKey) sign(claims map[string]any) string {
	head := map[string]any{"typ": "JWT", "alg": "RS256", "kid": k.id, "x5t": k.id}
	text := base64.RawURLEncoding.EncodeToString(marshal(head)) + "." + base64.RawURLEncoding.EncodeToString(marshal(claims))
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, k.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // the digest has the length of its hash
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// jwk is the public half, as the discovery keys endpoints show it.
func (k *entraKey) jwk(issuer string) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id, "x5t": k.id, "issuer": issuer,
		"n": base64.RawURLEncoding.EncodeToString(k.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.key.E)).Bytes()),
	}
}

func entraIssuer(tenant string, version int) string {
	if version == 1 {
		return "https://sts.windows.net/" + tenant + "/"
	}
	return "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// webhookToken is the bearer token of one attempt to post a webhook. Its form follows the manifest of the service app;
// unless one is chosen, hostile weather mixes them.
// spoil, if there is one, changes what makes it genuine.
func (m *azureMarket) webhookToken(sub *saas, subject string, spoil func(claims map[string]any, key *entraKey) *entraKey) string {
	m.entra.keys() // made outside the lock
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	version, f := m.o.TokenVersion, m.s.faults
	if version == 0 {
		version = 2
		if f.weather == WeatherHostile && f.chance("token version", subject) < 0.5 {
			version = 1
		}
	}
	claims := m.webhookClaims(version, m.clientOf(sub.offer))
	key := m.entra.signer()
	if spoil != nil {
		key = spoil(claims, key)
	}
	return key.sign(claims)
}

func (m *azureMarket) webhookClaims(version int, audience string) map[string]any {
	e, f := m.entra, m.s.faults
	e.issued++
	claims := map[string]any{
		"aud": audience, "iss": entraIssuer(m.o.Tenant, version), "tid": m.o.Tenant, "ver": strconv.Itoa(version) + ".0",
		"iat": m.s.now.Add(-clockSkew).Unix(), "nbf": m.s.now.Add(-clockSkew).Unix(), "exp": m.s.now.Add(time.Hour).Unix(),
		"oid": f.uuid("marketplace principal"), "sub": f.uuid("marketplace principal"), "uti": f.lower(22, "uti", strconv.Itoa(e.issued)),
		"aio": f.lower(30, "aio", strconv.Itoa(e.issued)), "rh": "0." + f.lower(20, "rh"),
	}
	if version == 1 {
		claims["appid"], claims["appidacr"], claims["idp"] = marketplaceApp, "2", claims["iss"]
	} else {
		claims["azp"], claims["azpacr"] = marketplaceApp, "2"
	}
	return claims
}
