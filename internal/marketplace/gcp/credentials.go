package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
)

const scope = "https://www.googleapis.com/auth/cloud-platform"

// accepted are the kinds of credentials that a backend may run under.
var accepted = []credentials.CredType{credentials.ServiceAccount, credentials.ExternalAccount, credentials.ImpersonatedServiceAccount}

// credentialsFrom reads a file, or finds Google's usual ones when they are first
// needed: looking for them may ask the machine's metadata server.
func credentialsFrom(file string, hc *http.Client) (*auth.Credentials, error) {
	options := &credentials.DetectOptions{Scopes: []string{scope}, Client: hc}
	if file == "" {
		return auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: &usual{options: options}}), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("credentials file: %w", err)
	}
	var kind struct {
		Type credentials.CredType `json:"type"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, errors.New("credentials file: want the JSON of Google credentials") // the cause may quote it
	}
	if !slices.Contains(accepted, kind.Type) {
		return nil, fmt.Errorf("credentials file: type %q: want one of %q", kind.Type, accepted)
	}
	got, err := credentials.NewCredentialsFromJSON(kind.Type, text, options)
	if err != nil {
		return nil, fmt.Errorf("credentials file of type %s: %w", kind.Type, err)
	}
	return got, nil
}

// usual finds the usual credentials; a search that failed is made again.
type usual struct {
	options *credentials.DetectOptions

	mu    sync.Mutex
	found *auth.Credentials
}

func (u *usual) Token(ctx context.Context) (*auth.Token, error) {
	got, err := u.find()
	if err != nil {
		return nil, err
	}
	return got.Token(ctx)
}

func (u *usual) find() (*auth.Credentials, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.found == nil {
		got, err := credentials.DetectDefault(u.options)
		if err != nil {
			return nil, fmt.Errorf("find credentials: %w", err)
		}
		u.found = got
	}
	return u.found, nil
}
