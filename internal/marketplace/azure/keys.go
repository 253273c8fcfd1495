package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tailmarket/tailmarket/internal/fault"
)

const (
	keysLife = 24 * time.Hour // then a key that was taken back is forgotten
	// An unknown key is asked for at once, because keys are rotated without notice;
	// but who invents key ids must not make us a flood.
	keysWindow = 5 * time.Minute
	keysBudget = 20
	maxKeys    = 1 << 20
)

var signatures = []jose.SignatureAlgorithm{jose.RS256}

// keyring is what the directory says of one version of its tokens: who issues
// them and with which keys. It is an oidc.KeySet whose errors have a class:
// Unavailable when the keys could not be asked for, Forged when they were and
// none fits.
type keyring struct {
	authority, tenant, version string
	issuer                     string // as documented; empty for another authority, which says it itself
	hc                         *http.Client
	now                        func() time.Time

	fetching chan struct{} // holds one: only one asks at a time

	mu      sync.Mutex
	said    string // the issuer, as the directory says
	keys    []jose.JSONWebKey
	at      time.Time
	window  time.Time
	fetches int
}

func newKeyring(c Config, version string, hc *http.Client, now func() time.Time) *keyring {
	k := &keyring{authority: c.Authority, tenant: c.TenantID, version: version, hc: hc, now: now, fetching: make(chan struct{}, 1)}
	if c.Authority == publicAuthority {
		k.issuer = publicAuthority + "/" + c.TenantID + version
		if version == "" {
			k.issuer = "https://sts.windows.net/" + c.TenantID + "/"
		}
	}
	return k
}

// Issuer is whom tokens must be from.
func (k *keyring) Issuer(ctx context.Context) (string, error) {
	said, _, fresh := k.known("")
	if fresh {
		return said, nil
	}
	if err := k.fetch(ctx, ""); err != nil && said == "" {
		return "", err
	}
	said, _, _ = k.known("")
	return said, nil
}

// VerifySignature checks a token against the keys and returns its claims.
func (k *keyring) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, signatures)
	if err != nil {
		return nil, fault.Wrap(fault.Forged, fmt.Errorf("parse the token: %w", err), "")
	}
	id := jws.Signatures[0].Header.KeyID
	if id == "" {
		return nil, fault.Wrap(fault.Forged, errors.New("the token names no key"), "")
	}
	_, key, _ := k.known(id)
	if key == nil {
		if err := k.fetch(ctx, id); err != nil {
			return nil, err
		}
		if _, key, _ = k.known(id); key == nil {
			return nil, fault.Wrap(fault.Forged, fmt.Errorf("the directory has no key %.40q", id), "")
		}
	}
	claims, err := jws.Verify(key)
	if err != nil {
		return nil, fault.Wrap(fault.Forged, fmt.Errorf("check the signature: %w", err), "")
	}
	return claims, nil
}

// known is the issuer, the key of an id if there is one, and whether what we
// know is young enough.
func (k *keyring) known(id string) (issuer string, key *jose.JSONWebKey, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.keys {
		if k.keys[i].KeyID == id {
			key = &k.keys[i]
		}
	}
	return k.said, key, !k.at.IsZero() && k.now().Sub(k.at) < keysLife
}

// fetch asks the directory, unless somebody else just brought the key.
func (k *keyring) fetch(ctx context.Context, id string) error {
	select {
	case k.fetching <- struct{}{}:
		defer func() { <-k.fetching }()
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, fmt.Errorf("wait for the directory's keys: %w", ctx.Err()), "")
	}
	if _, key, fresh := k.known(id); fresh && (id == "" || key != nil) {
		return nil
	}
	if !k.spend() {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("the directory's keys were asked for %d times in %s", keysBudget, keysWindow), "")
	}
	said, keys, err := k.ask(ctx)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said, k.keys, k.at = said, keys, k.now()
	return nil
}

func (k *keyring) spend() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.window) >= keysWindow {
		k.window, k.fetches = now, 0
	}
	k.fetches++
	return k.fetches <= keysBudget
}

// ask reads the discovery document and the keys that it names.
func (k *keyring) ask(ctx context.Context) (issuer string, keys []jose.JSONWebKey, err error) {
	var found struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	address := k.authority + "/" + k.tenant + k.version + "/.well-known/openid-configuration"
	if err := k.get(ctx, address, &found); err != nil {
		return "", nil, fmt.Errorf("read the directory's metadata: %w", err)
	}
	if k.issuer != "" && found.Issuer != k.issuer || !strings.Contains(found.Issuer, k.tenant) {
		return "", nil, fmt.Errorf("the directory calls itself %.200q, not the issuer of tenant %s", found.Issuer, k.tenant)
	}
	if !secure(found.JWKSURI) {
		return "", nil, errors.New("the directory's keys are not at an https address")
	}
	var set jose.JSONWebKeySet
	if err := k.get(ctx, found.JWKSURI, &set); err != nil {
		return "", nil, fmt.Errorf("read the directory's keys: %w", err)
	}
	if len(set.Keys) == 0 {
		return "", nil, errors.New("the directory has no keys")
	}
	return found.Issuer, set.Keys, nil
}

func (k *keyring) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := k.hc.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return readJSON(body, into)
}
