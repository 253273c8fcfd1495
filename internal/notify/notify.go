package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

// Purpose says why a mail was written.
type Purpose string

const (
	Verify       Purpose = "verify"        // proves that the buyer reads this address
	NetworkAdmin Purpose = "network_admin" // "send this to my network admin"
)

// State is where a mail is on its way.
type State string

const (
	Queued  State = "queued"
	Sent    State = "sent"
	Held    State = "held"    // no mail server is set: the operator passes it on
	Refused State = "refused" // the mail server refused it for good
)

// Mail is one message to one person. Address, Subject, Text and Link are kept
// encrypted and never logged: a Mail prints as its id.
type Mail struct {
	ID      id.Message // made when empty
	Purpose Purpose
	About   string // the claim or subscription it belongs to
	Address string
	Subject string
	Text    string
	Link    string    // the one thing to open: a path of ours; may be empty
	At      time.Time // business time it was written
}

// Body is what the reader gets: the text, and the link under base, our public
// address.
func (m Mail) Body(base string) string {
	if m.Link == "" {
		return m.Text
	}
	return m.Text + "\n\n" + m.URL(base) + "\n"
}

// URL is the link under base; empty when there is none.
func (m Mail) URL(base string) string {
	if m.Link == "" {
		return ""
	}
	return strings.TrimSuffix(base, "/") + m.Link
}

// String keeps address and text out of logs.
func (m Mail) String() string { return string(m.ID) }

// LogValue keeps address and text out of logs.
func (m Mail) LogValue() slog.Value { return slog.StringValue(string(m.ID)) }

// Entry is a mail in the outbox.
type Entry struct {
	Mail
	State     State
	SettledAt time.Time // business time; zero while queued
	Note      string    // why it is not sent
}

// Store keeps the outbox. Mails are added by the transaction that causes them.
type Store interface {
	// Mail reads one; NotFound when there is none.
	Mail(ctx context.Context, m id.Message) (Entry, error)
	// Mails lists the newest first, those older than after when it is not empty.
	Mails(ctx context.Context, after id.Message, limit int) ([]Entry, error)
	// SettleMail moves a queued mail; false when another run did so before.
	SettleMail(ctx context.Context, m id.Message, to State, at time.Time, note string) (bool, error)
}

// Sender hands one mail to the world. Errors carry a fault class.
type Sender interface {
	Send(ctx context.Context, m Mail) error
}

// Service sends what is queued and shows the outbox.
type Service struct {
	store  Store
	sender Sender
	log    *slog.Logger
	now    func() time.Time
}

// New makes the service; a nil sender means that no mail server is set. now is
// business time.
func New(store Store, sender Sender, log *slog.Logger, now func() time.Time) *Service {
	return &Service{store: store, sender: sender, log: log, now: now}
}

// Send is the worker of the due kind notify: it sends the mail, or holds it. A
// run after a crash finds the mail still queued and sends it again under the
// same Message-ID, or finds it settled and does nothing.
func (s *Service) Send(ctx context.Context, subject string) (again time.Time, err error) {
	e, err := s.store.Mail(ctx, id.Message(subject))
	if fault.Is(err, fault.NotFound) {
		return time.Time{}, nil // erased meanwhile
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read mail %s: %w", subject, err)
	}
	if e.State != Queued {
		return time.Time{}, nil
	}
	to, note := Sent, ""
	if s.sender == nil {
		to, note = Held, "no mail server is set"
	} else if err := s.sender.Send(ctx, e.Mail); err != nil {
		if !fault.ClassOf(err).Final() {
			return time.Time{}, fmt.Errorf("send mail %s: %w", subject, err)
		}
		to, note = Refused, public(err)
		s.log.WarnContext(ctx, "mail refused", "message", subject, "purpose", string(e.Purpose), "reason", note)
	}
	if _, err := s.store.SettleMail(ctx, e.ID, to, s.now(), note); err != nil {
		return time.Time{}, fmt.Errorf("settle mail %s: %w", subject, err)
	}
	return time.Time{}, nil
}

// Outbox lists mails, newest first, those older than after when it is not empty.
func (s *Service) Outbox(ctx context.Context, after id.Message, limit int) ([]Entry, error) {
	return s.store.Mails(ctx, after, limit)
}

func public(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Public != "" {
		return f.Public
	}
	return "the mail server refused it"
}
