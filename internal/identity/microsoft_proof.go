package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

const assertionLife = 5 * time.Minute // wall time, as for all credentials we send

// proof is how the app proves itself when it redeems a code; a secret needs nothing
// more.
func (m *Microsoft) proof() ([]oauth2.AuthCodeOption, error) {
	var assertion string
	switch {
	case m.c.ClientSecret != "":
		return nil, nil
	case m.cert == nil: // the platform renews its token in the file
		raw, err := os.ReadFile(m.c.FederatedTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the workload's token: %w", err)
		}
		assertion = strings.TrimSpace(string(raw))
	default:
		var err error
		if assertion, err = m.assert(); err != nil {
			return nil, fmt.Errorf("sign the app's assertion: %w", err)
		}
	}
	return []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		oauth2.SetAuthURLParam("client_assertion", assertion),
	}, nil
}

// assert signs for the app by its certificate, named by its SHA-256 thumbprint
// ("Application authentication certificate credentials", 2025).
func (m *Microsoft) assert() (string, error) {
	thumb := sha256.Sum256(m.cert.Certificate[0])
	head := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(thumb[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: m.cert.PrivateKey}, head)
	if err != nil {
		return "", err
	}
	now := m.wall()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: m.c.ClientID, Subject: m.c.ClientID, Audience: jwt.Audience{m.oauth.Endpoint.TokenURL}, ID: newToken(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
}
