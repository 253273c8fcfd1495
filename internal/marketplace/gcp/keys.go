package gcp

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	fetchLimit  = 10 * time.Second // one fetch; whoever waits for it has a webhook's or a browser's patience
	keysDefault = 5 * time.Minute  // when the answer does not say how long it is good
	keysBytes   = 1 << 20

	keysShortest, keysLongest = time.Minute, 24 * time.Hour // whatever it says

	// A key id nobody knows is asked for at once, for keys are changed without notice;
	// but whoever invents ids must not make us a flood.
	fetchWindow = 5 * time.Minute
	fetchBudget = 20
)

// keys are the public keys at one address, kept as long as the address says, in
// business time: that of the tokens they are for.
type keys struct {
	url    string
	read   func([]byte) (map[string]*rsa.PublicKey, error)
	client *http.Client
	now    func() time.Time
	turn   chan struct{} // holds one: whose turn it is to fetch

	mu      sync.Mutex
	all     map[string]*rsa.PublicKey
	until   time.Time
	window  time.Time
	fetches int // in the window
}

func newKeys(url string, read func([]byte) (map[string]*rsa.PublicKey, error), client *http.Client, now func() time.Time) *keys {
	return &keys{url: url, read: read, client: client, now: now, turn: make(chan struct{}, 1)}
}

var errNoKey = errors.New("no key has this id")

// find returns the key of an id. errNoKey is a completed check; any other error
// means that the keys could not be had.
func (k *keys) find(ctx context.Context, id string) (*rsa.PublicKey, error) {
	if key := k.known(id); key != nil {
		return key, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for keys: %w", ctx.Err())
	}
	if key := k.known(id); key != nil {
		return key, nil // somebody else has just fetched it
	}
	if !k.spend() {
		return nil, fmt.Errorf("keys were fetched %d times in %s", fetchBudget, fetchWindow)
	}
	if err := k.fetch(ctx); err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.all[id]; key != nil {
		return key, nil
	}
	return nil, errNoKey
}

// known is the key of an id while it may be kept.
func (k *keys) known(id string) *rsa.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.now().Before(k.until) {
		return nil
	}
	return k.all[id]
}

func (k *keys) spend() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.window) >= fetchWindow {
		k.window, k.fetches = now, 0
	}
	k.fetches++
	return k.fetches <= fetchBudget
}

func (k *keys) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	answer, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, keysBytes))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	all, err := k.read(body)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all, k.until = all, k.now().Add(goodFor(answer.Header))
	return nil
}

// goodFor reads how long an answer may be kept.
func goodFor(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		text, ok := strings.CutPrefix(strings.TrimSpace(strings.ToLower(directive)), "max-age=")
		if !ok {
			continue
		}
		seconds, err := strconv.Atoi(text)
		age, _ := strconv.Atoi(h.Get("Age"))
		if err == nil {
			return min(max(time.Duration(seconds-max(age, 0))*time.Second, keysShortest), keysLongest)
		}
	}
	return keysDefault
}

// certificates reads an object of key ids and PEM certificates.
func certificates(body []byte) (map[string]*rsa.PublicKey, error) {
	var all map[string]string
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	out := map[string]*rsa.PublicKey{}
	for id, text := range all {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, fmt.Errorf("the certificate of key %.40q is not PEM", id)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of key %.40q: %w", id, err)
		}
		if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
			out[id] = key
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is no RSA key")
	}
	return out, nil
}

// webKeys reads a JSON Web Key Set.
func webKeys(body []byte) (map[string]*rsa.PublicKey, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	out := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		if key, ok := k.Key.(*rsa.PublicKey); ok && k.KeyID != "" {
			out[k.KeyID] = key
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is no RSA key")
	}
	return out, nil
}

// trial checks one token's signature for go-oidc, which hides why its key set
// failed: unreachable keys must not look like a forged token.
type trial struct {
	keys        *keys
	unreachable error
}

var _ oidc.KeySet = (*trial)(nil)

// VerifySignature returns the payload of a token that is signed with RS256 and one
// of the keys.
func (t *trial) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	key, err := t.keys.find(ctx, signed.Signatures[0].Header.KeyID)
	if errors.Is(err, errNoKey) {
		return nil, err
	}
	if err != nil {
		t.unreachable = err
		return nil, err
	}
	return signed.Verify(key)
}
