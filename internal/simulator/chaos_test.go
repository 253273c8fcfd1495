package simulator_test

import (
	"context"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestBuyersSurviveAnAppThatKeepsDying(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Seed: 13})
	for range 5 {
		w.buy(simulator.Purchase{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	dead := make(chan struct{})
	go func() { // every few milliseconds the app is away for a moment
		defer close(dead)
		tick := time.NewTicker(15 * time.Millisecond)
		defer tick.Stop()
		for down := false; ; down = !down {
			select {
			case <-tick.C:
				w.app.setDown(down)
				w.app.CloseClientConnections()
			case <-ctx.Done():
				return
			}
		}
	}()
	w.advance(13 * time.Hour)
	cancel()
	<-dead
	w.app.setDown(false)
	w.advance(4 * time.Hour)
	for _, b := range w.sim.Buyers() {
		if b.Finished == "" || b.State != "active" {
			t.Errorf("buyer %+v", b)
		}
	}
	if r := w.sim.Rest(); !r.AtRest {
		t.Errorf("rest %+v %v", r, w.sim.Agenda())
	}
}

func TestAnAmendmentMayMoveTheEnd(t *testing.T) {
	t.Parallel()
	w := good(t)
	end := start.Add(2 * time.Hour)
	b := w.buy(simulator.Purchase{End: end, Habits: absent()})
	w.advance(time.Hour)
	if _, err := w.sim.Change(t.Context(), b.ID, simulator.Change{End: end.Add(3 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	w.advance(2 * time.Hour)
	out, err := w.agreement.DescribeAgreement(t.Context(), &marketplaceagreement.DescribeAgreementInput{AgreementId: &b.AgreementID})
	if err != nil || out.Status != "ACTIVE" || !awssdk.ToTime(out.EndTime).Equal(end.Add(3*time.Hour)) || out.EndTimeBehavior == nil {
		t.Fatalf("%+v %v", out, err)
	}
	w.advance(2 * time.Hour)
	if got := w.buyer(b.ID); got.Status != "EXPIRED" {
		t.Errorf("after the new end: %s", got.Status)
	}
}

func TestABuyerWhoNeverGetsAPageGoesWhenTheAgreementIsOver(t *testing.T) {
	t.Parallel()
	w := good(t)
	w.app.mu.Lock()
	w.app.active = false
	w.app.mu.Unlock()
	b := w.buy(simulator.Purchase{})
	w.advance(time.Hour)
	if r := w.sim.Rest(); r.AtRest || r.Buyers != 1 {
		t.Errorf("a waiting buyer is not at rest: %+v", r)
	}
	if _, err := w.sim.Cancel(t.Context(), b.ID, ""); err != nil {
		t.Fatal(err)
	}
	w.advance(7 * time.Hour)
	if got := w.buyer(b.ID); got.Finished == "" || got.JoinKeySeen {
		t.Errorf("buyer %+v", got)
	}
}
