package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Keys encrypts at rest. Every body has its own random key; that key is wrapped
// by the instance key (or by a customer's key, itself wrapped by the instance
// key), so that destroying one small row makes a body unreadable for good.
type Keys struct{ instance []byte }

const keyLen = 32

// LoadKeys reads the instance key from path, or makes it with mode 0600. The
// file is linked into place, so two starting processes agree on one key.
func LoadKeys(path string) (*Keys, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeKeyFile(path); err != nil {
			return nil, err
		}
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the instance key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != keyLen {
		return nil, fmt.Errorf("the instance key in %s is not %d bytes in base64; restore it from your backup, a new one cannot read the old data", path, keyLen)
	}
	return &Keys{instance: key}, nil
}

func makeKeyFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".instance-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make the instance key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, werr := f.WriteString(base64.StdEncoding.EncodeToString(NewKey()) + "\n")
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the instance key: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the instance key: %w", err)
	}
	return nil
}

// NewKey makes a random key.
func NewKey() []byte {
	k := make([]byte, keyLen)
	_, _ = rand.Read(k) // never fails: crypto/rand ends the process instead
	return k
}

// Wrap encrypts a body's or customer's key under the instance key.
func (k *Keys) Wrap(key []byte) ([]byte, error) { return SealWith(k.instance, key, "key") }

// Unwrap is the reverse of Wrap.
func (k *Keys) Unwrap(wrapped []byte) ([]byte, error) { return OpenWith(k.instance, wrapped, "key") }

// Seal encrypts a small secret under the instance key itself; context names what
// it is, so that one cannot be put in the place of another.
func (k *Keys) Seal(plain []byte, context string) ([]byte, error) {
	return SealWith(k.instance, plain, context)
}

// Open is the reverse of Seal.
func (k *Keys) Open(sealed []byte, context string) ([]byte, error) {
	return OpenWith(k.instance, sealed, context)
}

func gcm(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(b)
}

// SealWith encrypts plain under key; context is authenticated with it.
func SealWith(key, plain []byte, context string) ([]byte, error) {
	a, err := gcm(key)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return a.Seal(nil, nil, plain, []byte(context)), nil
}

// OpenWith is the reverse of SealWith.
func OpenWith(key, sealed []byte, context string) ([]byte, error) {
	a, err := gcm(key)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	plain, err := a.Open(nil, nil, sealed, []byte(context))
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: wrong key or changed data", context)
	}
	return plain, nil
}
