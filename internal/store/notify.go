package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tailmarket/tailmarket/internal/due"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/store/db"
)

// sealedMail is what of a mail is kept encrypted.
type sealedMail struct {
	Address string `json:"address"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Link    string `json:"link,omitempty"`
}

func mailContext(m string) string { return "mail:" + m }

// AddMail puts a mail into the outbox and marks its due row: it leaves only if
// this transaction commits. Rooms that queue mail say it in their own words;
// the file of the room translates.
func (t *Tx) AddMail(ctx context.Context, m notify.Mail) error {
	if m.ID == "" {
		m.ID = id.NewMessage()
	}
	plain, err := json.Marshal(sealedMail{Address: m.Address, Subject: m.Subject, Text: m.Text, Link: m.Link})
	if err != nil {
		return fmt.Errorf("queue mail %s: %w", m.ID, err)
	}
	sealed, err := t.keys.Seal(plain, mailContext(string(m.ID)))
	if err != nil {
		return fmt.Errorf("queue mail %s: %w", m.ID, err)
	}
	err = t.q.AddMail(ctx, db.AddMailParams{ID: string(m.ID), Purpose: string(m.Purpose), About: m.About, Sealed: sealed, QueuedAt: micros(m.At)})
	if err != nil {
		return fmt.Errorf("queue mail %s: %w", m.ID, err)
	}
	return t.Mark(ctx, string(due.Notify), string(m.ID), m.At)
}

type notifyStore struct{ *Store }

var _ notify.Store = notifyStore{}

// Notify is the outbox.
func (s *Store) Notify() notify.Store { return notifyStore{s} }

func (s notifyStore) Mail(ctx context.Context, m id.Message) (notify.Entry, error) {
	q, err := s.query(ctx)
	if err != nil {
		return notify.Entry{}, err
	}
	row, err := q.GetMail(ctx, string(m))
	switch {
	case noRows(err):
		return notify.Entry{}, fault.New(fault.NotFound, "there is no mail %s", m)
	case err != nil:
		return notify.Entry{}, fmt.Errorf("get mail %s: %w", m, err)
	}
	return s.openMail(row)
}

func (s notifyStore) Mails(ctx context.Context, after id.Message, limit int) ([]notify.Entry, error) {
	q, err := s.query(ctx)
	if err != nil {
		return nil, err
	}
	if after == "" {
		after = "n" // behind every id in every collation
	}
	rows, err := q.ListMails(ctx, db.ListMailsParams{ID: string(after), Limit: int32(min(max(limit, 1), 500))})
	if err != nil {
		return nil, fmt.Errorf("list mails: %w", err)
	}
	out := make([]notify.Entry, 0, len(rows))
	for _, row := range rows {
		e, err := s.openMail(row)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (s notifyStore) SettleMail(ctx context.Context, m id.Message, to notify.State, at time.Time, note string) (moved bool, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		n, err := t.q.SettleMail(ctx, db.SettleMailParams{ID: string(m), State: string(to), SettledAt: micros(at), Note: note})
		moved = n == 1
		return err
	})
	return moved, err
}

func (s notifyStore) openMail(row db.Mail) (notify.Entry, error) {
	plain, err := s.keys.Open(row.Sealed, mailContext(row.ID))
	if err != nil {
		return notify.Entry{}, fmt.Errorf("open mail %s: %w", row.ID, err)
	}
	var m sealedMail
	if err := json.Unmarshal(plain, &m); err != nil {
		return notify.Entry{}, fmt.Errorf("open mail %s: %w", row.ID, err)
	}
	return notify.Entry{
		Mail: notify.Mail{
			ID: id.Message(row.ID), Purpose: notify.Purpose(row.Purpose), About: row.About,
			Address: m.Address, Subject: m.Subject, Text: m.Text, Link: m.Link, At: fromMicros(row.QueuedAt),
		},
		State: notify.State(row.State), SettledAt: fromMicros(row.SettledAt), Note: row.Note,
	}, nil
}
