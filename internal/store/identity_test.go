package store_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/identity"
	"github.com/tailmarket/tailmarket/internal/notify"
	"github.com/tailmarket/tailmarket/internal/store"
	"github.com/tailmarket/tailmarket/internal/store/storetest"
)

func TestSessionsEndWithTheirTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		at := wall
		svc := identity.New(s, func() time.Time { return at })
		token, want, err := svc.StartBuyer(t.Context(), "clm_1", "sub_1")
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := svc.Find(t.Context(), identity.BuyerSession, token)
		if err != nil || !ok || got != want {
			t.Fatalf("found %+v %v %v, want %+v", got, ok, err, want)
		}
		for _, other := range []struct {
			kind  identity.Kind
			token string
		}{{identity.OperatorSession, token}, {identity.BuyerSession, token + "x"}, {identity.BuyerSession, ""}} {
			if _, ok, err := svc.Find(t.Context(), other.kind, other.token); ok || err != nil {
				t.Errorf("%+v found %v %v", other, ok, err)
			}
		}
		at = want.ExpiresAt
		if _, ok, _ := svc.Find(t.Context(), identity.BuyerSession, token); ok {
			t.Error("an expired session was found")
		}
		at = wall
		if err := svc.End(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := svc.Find(t.Context(), identity.BuyerSession, token); ok {
			t.Error("an ended session was found")
		}
	})
}

func TestAnOperatorLinkOpensOneSessionEver(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		svc := identity.New(s, func() time.Time { return wall })
		path, err := svc.OperatorLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		link := path[len("/operator/enter/"):]
		var opened atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				token, _, err := svc.Enter(t.Context(), link)
				if fault.Is(err, fault.Gone) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				opened.Add(1)
				if _, ok, err := svc.Find(t.Context(), identity.OperatorSession, token); !ok || err != nil {
					t.Errorf("the session was not found: %v", err)
				}
			})
		}
		wg.Wait()
		if opened.Load() != 1 {
			t.Fatalf("a link opened %d sessions", opened.Load())
		}
		late := identity.New(s, func() time.Time { return wall.Add(identity.LinkLife) })
		path, _ = svc.OperatorLink(t.Context())
		if _, _, err := late.Enter(t.Context(), path[len("/operator/enter/"):]); !fault.Is(err, fault.Gone) {
			t.Fatalf("an expired link: %v", err)
		}
	})
}

func TestTheOutboxKeepsMailEncryptedAndInOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		add := func(m notify.Mail) error {
			return s.Tx(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.AddMail(ctx, m) })
		}
		want := []notify.Mail{
			{ID: "msg_a", Purpose: notify.Verify, About: "clm_1", Address: "ana@company.example", Subject: "one", Text: "hello", Link: "/verify/secret-token", At: now},
			{ID: "msg_b", Purpose: notify.NetworkAdmin, About: "clm_1", Address: "bo@company.example", Subject: "two", Text: "hello", At: now},
			{ID: "msg_c", Purpose: notify.Verify, Address: "cy@company.example", At: now},
		}
		for _, m := range want {
			if err := add(m); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.CountDue(ctx, now); n != 3 || err != nil {
			t.Fatalf("%d due rows, %v; each mail marks one", n, err)
		}
		box := s.Notify()
		first, err := box.Mails(ctx, "", 2)
		if err != nil || len(first) != 2 || first[0].Mail != want[2] || first[1].Mail != want[1] {
			t.Fatalf("first page %+v %v", first, err)
		}
		rest, err := box.Mails(ctx, first[1].ID, 2)
		if err != nil || len(rest) != 1 || rest[0].Mail != want[0] {
			t.Fatalf("second page %+v %v", rest, err)
		}
		var sealed []byte
		if err := s.DB().QueryRowContext(ctx, `SELECT sealed FROM mails WHERE id = 'msg_a'`).Scan(&sealed); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"ana@", "secret-token", "hello"} {
			if bytes.Contains(sealed, []byte(secret)) {
				t.Errorf("%q is readable in the database", secret)
			}
		}
		for i, want := range []bool{true, false} {
			moved, err := box.SettleMail(ctx, "msg_a", notify.Sent, now, "")
			if err != nil || moved != want {
				t.Errorf("settling for the %d. time: %v %v, want %v", i+1, moved, err, want)
			}
		}
		if _, err := box.Mail(ctx, "msg_none"); !fault.Is(err, fault.NotFound) {
			t.Errorf("a mail that is not there: %v", err)
		}
	})
}
