package billing

import (
	"context"
	"errors"
	"fmt"
)

var errTried = errors.New("it was only tried")

// Try answers as Ingest would and keeps nothing: each chunk is decided in a
// transaction that is rolled back. What earlier chunks would have counted is
// remembered by identity and operation; only a correction whose target stands in
// an earlier chunk is told to wait, though it would count.
func (s *Service) Try(ctx context.Context, events []UsageEvent) ([]Outcome, error) {
	out := make([]Outcome, 0, len(events))
	names, operations := map[Ident][32]byte{}, map[Ident][32]byte{}
	for chunk := range chunks(events, eventsPerTx) {
		var in []*arrival
		err := s.Store.BillingTx(ctx, func(ctx context.Context, tx Tx) (err error) {
			if in, err = s.decide(ctx, tx, chunk); err == nil {
				err = errTried
			}
			return err
		})
		if !errors.Is(err, errTried) {
			return nil, fmt.Errorf("try %d usage events: %w", len(chunk), err)
		}
		for _, a := range in {
			counts := a.answer.Result == Accepted
			if counts || a.answer.Result == Quarantine {
				a.remembered(names, a.ident, a.content)
			}
			if counts && a.operation != (Ident{}) {
				a.remembered(operations, a.operation, a.e.said())
			}
			a.answer.Event = ""
			out = append(out, a.answer)
		}
	}
	return out, nil
}

// remembered answers for what an earlier chunk would have counted.
func (a *arrival) remembered(known map[Ident][32]byte, key Ident, said [32]byte) {
	switch before, again := known[key]; {
	case !again:
		known[key] = said
	case before == said && a.answer.Result == Accepted:
		a.end(Duplicate, "")
	case before == said: // it waits, as it did
	default:
		a.end(Conflict, "an earlier event of this call says something else under this name")
	}
}
