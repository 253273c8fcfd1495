package billing

import (
	"context"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// remembering asks once what every event of a transaction would ask again: the
// terms of an hour, and to be sealed. Events of one call are mostly of one hour of
// a few purchases; on PostgreSQL every question is a way there and back. The terms
// of one transaction are those that it read first, which makes its events agree.
type remembering struct {
	Tx

	terms  map[termsKey]Terms
	known  map[string]id.Subscription
	marked map[markKey]bool
}

type termsKey struct {
	sub id.Subscription
	at  int64
}

type markKey struct {
	kind, subject string
	at            int64
}

func remember(tx Tx) *remembering {
	return &remembering{Tx: tx, terms: map[termsKey]Terms{}, known: map[string]id.Subscription{}, marked: map[markKey]bool{}}
}

// Terms implements Tx.
func (r *remembering) Terms(ctx context.Context, sub id.Subscription, at time.Time) (Terms, error) {
	k := termsKey{sub, at.UnixMicro()}
	if t, ok := r.terms[k]; ok {
		return t, nil
	}
	t, err := r.Tx.Terms(ctx, sub, at)
	if err == nil {
		r.terms[k] = t
	}
	return t, err
}

// FindSubject implements Tx. A purchase is itself at any time; whose a tailnet was
// depends on the instant.
func (r *remembering) FindSubject(ctx context.Context, subject string, at time.Time) (id.Subscription, error) {
	if sub, ok := r.known[subject]; ok {
		return sub, nil
	}
	sub, err := r.Tx.FindSubject(ctx, subject, at)
	if err == nil && sub != "" && strings.HasPrefix(subject, "sub_") {
		r.known[subject] = sub
	}
	return sub, err
}

// Mark implements Tx.
func (r *remembering) Mark(ctx context.Context, kind, subject string, at time.Time) error {
	k := markKey{kind, subject, at.UnixMicro()}
	if r.marked[k] {
		return nil
	}
	err := r.Tx.Mark(ctx, kind, subject, at)
	r.marked[k] = err == nil
	return err
}
