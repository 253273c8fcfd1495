package notify_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/notify"
)

var now = time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)

const address = "ana.secret@company.example"

// box is a Store of one mail.
type box struct{ e notify.Entry }

func (b *box) Mail(_ context.Context, m id.Message) (notify.Entry, error) {
	if m != b.e.ID {
		return notify.Entry{}, fault.New(fault.NotFound, "no mail")
	}
	return b.e, nil
}

func (b *box) Mails(context.Context, id.Message, int) ([]notify.Entry, error) {
	return []notify.Entry{b.e}, nil
}

func (b *box) SettleMail(_ context.Context, _ id.Message, to notify.State, at time.Time, note string) (bool, error) {
	b.e.State, b.e.SettledAt, b.e.Note = to, at, note
	return true, nil
}

type sender struct {
	err  error
	sent []notify.Mail
}

func (s *sender) Send(_ context.Context, m notify.Mail) error {
	s.sent = append(s.sent, m)
	return s.err
}

func queued() *box {
	return &box{notify.Entry{State: notify.Queued, Mail: notify.Mail{ID: "msg_1", Purpose: notify.Verify, Address: address, Subject: "Confirm", Text: "Press.", Link: "/verify/tok", At: now}}}
}

func TestAQueuedMailSettlesAsItsSenderSays(t *testing.T) {
	t.Parallel()
	refused := fault.New(fault.Refused, "the mail server refused it with code 550")
	cases := map[string]struct {
		sender *sender
		want   notify.State
		note   string
		err    fault.Class
	}{
		"without a mail server it is held": {nil, notify.Held, "no mail server is set", ""},
		"taken is sent":                    {&sender{}, notify.Sent, "", ""},
		"refused for good is not retried":  {&sender{err: refused}, notify.Refused, refused.Public, ""},
		"unavailable stays queued":         {&sender{err: fault.New(fault.Unavailable, "down")}, notify.Queued, "", fault.Unavailable},
		"unsure stays queued":              {&sender{err: fault.New(fault.Unsure, "cut")}, notify.Queued, "", fault.Unsure},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			b := queued()
			var s notify.Sender
			if c.sender != nil {
				s = c.sender
			}
			svc := notify.New(b, s, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
			_, err := svc.Send(t.Context(), "msg_1")
			if fault.ClassOf(err) != c.err || b.e.State != c.want || b.e.Note != c.note {
				t.Errorf("state %q note %q error %v, want %q %q %q", b.e.State, b.e.Note, err, c.want, c.note, c.err)
			}
			if strings.Contains(log.String(), address) || err != nil && strings.Contains(err.Error(), address) {
				t.Errorf("the address leaked: %s %v", log.String(), err)
			}
		})
	}
}

func TestASettledMailIsNotSentAgain(t *testing.T) {
	t.Parallel()
	b, s := queued(), &sender{}
	svc := notify.New(b, s, slog.New(slog.DiscardHandler), func() time.Time { return now })
	for range 2 {
		if _, err := svc.Send(t.Context(), "msg_1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := svc.Send(t.Context(), "msg_erased"); err != nil {
		t.Fatal(err)
	}
	if len(s.sent) != 1 {
		t.Fatalf("sent %d times, want 1", len(s.sent))
	}
}

func TestAMailPrintsAsItsID(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m := queued().e.Mail
	slog.New(slog.NewTextHandler(&log, nil)).Info("mail", "mail", m)
	fmt.Fprintf(&log, "%v %s", m, m)
	if strings.Contains(log.String(), address) {
		t.Fatalf("the address leaked: %s", log.String())
	}
}

// server is a mail server on loopback that answers by script: prefix of the
// command → answer. "cut" closes the connection.
type server struct {
	addr string
	mu   sync.Mutex
	data string
}

func serve(t *testing.T, answers map[string]string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.talk(c, answers)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return s
}

func (s *server) talk(c net.Conn, answers map[string]string) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "220 ready\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		answer, ok := answers[verb]
		if !ok {
			answer = "250 ok"
		}
		if verb == "DATA" && answer == "250 ok" {
			_, _ = io.WriteString(c, "354 go\r\n")
			var b strings.Builder
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				b.WriteString(l)
			}
			s.mu.Lock()
			s.data = b.String()
			s.mu.Unlock()
			if answer, ok = answers["."]; !ok {
				answer = "250 taken"
			}
		}
		if answer == "cut" {
			return
		}
		if answer == "silence" {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		_, _ = io.WriteString(c, answer+"\r\n")
	}
}

func TestSMTPConversations(t *testing.T) {
	t.Parallel()
	quotes := "550 no such user " + address
	cases := map[string]struct {
		answers map[string]string
		want    fault.Class
	}{
		"taken":                              {nil, ""},
		"recipient refused for good":         {map[string]string{"RCPT": quotes}, fault.Refused},
		"recipient refused for now":          {map[string]string{"RCPT": "450 later " + address}, fault.Unavailable},
		"content refused for good":           {map[string]string{".": "554 spam"}, fault.Refused},
		"cut before the data":                {map[string]string{"MAIL": "cut"}, fault.Unavailable},
		"cut after the data may be recorded": {map[string]string{".": "cut"}, fault.Unsure},
		"silence ends with the time-out":     {map[string]string{"MAIL": "silence"}, fault.Unavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, c.answers)
			s := notify.SMTP{Addr: srv.addr, From: "shop@vendor.example", Base: "https://sell.example/", Wall: func() time.Time { return now }, Timeout: time.Second}
			m := queued().e.Mail
			m.Subject = "Confirm – naïve"
			err := s.Send(t.Context(), m)
			if fault.ClassOf(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatalf("got %v, want class %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), address) {
				t.Errorf("the address leaked: %v", err)
			}
			if err == nil {
				srv.mu.Lock()
				defer srv.mu.Unlock()
				for _, want := range []string{"Message-ID: <msg_1@vendor.example>", "https://sell.example/verify/tok", "Subject: =?utf-8?q?Confirm_", "To: <" + address + ">"} {
					if !strings.Contains(srv.data, want) {
						t.Errorf("the mail has no %q:\n%s", want, srv.data)
					}
				}
			}
		})
	}
}

func TestAnAddressWithoutAPortIsReported(t *testing.T) {
	t.Parallel()
	s := notify.SMTP{Addr: "no-port", From: "a@b.example", Wall: func() time.Time { return now }}
	err := s.Send(t.Context(), queued().e.Mail)
	if !fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}
