package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	keyPrefix = "tmop_" // so that a leaked key can be recognised
	tokenLen  = 32
)

// Key is the operator's key for the API. It prints masked.
type Key struct{ value string }

// String keeps the key out of logs.
func (Key) String() string { return "[operator key]" }

// GoString keeps the key out of %#v.
func (Key) GoString() string { return "[operator key]" }

// Reveal returns the key itself, for the process that must present it.
func (k Key) Reveal() string { return k.value }

// Check reports whether presented is the key, in constant time.
func (k Key) Check(presented string) bool {
	a, b := sha256.Sum256([]byte(k.value)), sha256.Sum256([]byte(presented))
	return k.value != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// LoadKey reads the operator's key from path, or makes it with mode 0600; made
// tells which. The file is linked into place, so two starting processes agree
// on one key.
func LoadKey(path string) (k Key, made bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if made, err = makeKey(path); err != nil {
			return Key{}, false, fmt.Errorf("make the operator's key: %w", err)
		}
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return Key{}, false, fmt.Errorf("read the operator's key: %w", err)
	}
	value := strings.TrimSpace(string(raw))
	if len(value) < 32 || strings.ContainsAny(value, " \t\r\n") {
		return Key{}, false, fmt.Errorf("the operator's key in %s must be one line of at least 32 characters; delete the file to have a new one made", path)
	}
	return Key{value: value}, made, nil
}

func makeKey(path string) (made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".operator-key-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, werr := f.WriteString(keyPrefix + newToken() + "\n")
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, os.ErrExist) {
		return false, nil // the other process's key counts
	}
	return err == nil, err
}

func newToken() string {
	b := make([]byte, tokenLen)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
