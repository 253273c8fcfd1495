package simulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestEveryBuyerFinishesWhateverTheSeed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := setup(t, simulator.Options{Seed: seed})
			for range 6 {
				w.buy(simulator.Purchase{})
			}
			w.advance(14 * time.Hour)
			never := 0
			for _, b := range w.sim.Buyers() {
				if b.Finished == "" || b.State != "active" || b.JoinKeySeen == b.Habits.NeverReveal {
					t.Errorf("buyer %+v", b)
				}
				if b.Habits.NeverReveal {
					never++
				}
			}
			if never == 0 {
				t.Error("every buyer asked for the key")
			}
			if r := w.sim.Rest(); !r.AtRest {
				t.Errorf("not at rest: %+v %v", r, w.sim.Agenda())
			}
			met := w.sim.Faults()
			for _, k := range []simulator.Kind{simulator.KindDrop, simulator.KindDelay, simulator.KindReorder, simulator.KindRepeat, simulator.KindTokenFault} {
				if met[string(k)] == 0 {
					t.Errorf("six purchases did not meet %s: %v", k, met)
				}
			}
		})
	}
}

func TestATokenHasTheCharactersThatBreakForms(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	w.buy(simulator.Purchase{})
	w.advance(time.Hour)
	w.app.mu.Lock()
	defer w.app.mu.Unlock()
	if len(w.app.tokens) != 1 {
		t.Fatalf("registered %d times in good weather", len(w.app.tokens))
	}
	for _, c := range []string{"%", "+", "/"} {
		if !strings.Contains(w.app.tokens[0], c) {
			t.Errorf("token %q has no %s", w.app.tokens[0], c)
		}
	}
}

func TestABuyerWaitsForAnAppThatIsAway(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	b := w.buy(simulator.Purchase{})
	w.app.setDown(true)
	up := time.AfterFunc(300*time.Millisecond, func() { w.app.setDown(false) })
	defer up.Stop()
	w.advance(time.Hour)
	if got := w.buyer(b.ID); !got.JoinKeySeen {
		t.Fatalf("buyer %+v", got)
	}
	if n := len(w.app.seen()); n != 2 {
		t.Fatalf("%d events, want Created and License Updated once each", n)
	}
}

func TestAStaleTokenIsRefusedAndAFreshOneTaken(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	b := w.buy(simulator.Purchase{Habits: &simulator.Habits{After: 5 * time.Hour, Stale: true, Twice: true}})
	w.advance(7 * time.Hour)
	if got := w.buyer(b.ID); !got.JoinKeySeen || !strings.Contains(got.Problem, "410") {
		t.Fatalf("buyer %+v", got)
	}
}

// A referral link sets its cookie before the purchase; it comes back on the page after the registration, not with its POST.
func TestAReferralIsRememberedUntilThePageAfterRegistration(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood})
	followed, pages := make(chan string, 4), make(chan string, 64)
	w.app.mux.HandleFunc("GET /r/{link}", func(rw http.ResponseWriter, r *http.Request) {
		followed <- r.PathValue("link")
		http.SetCookie(rw, &http.Cookie{Name: "partner", Value: r.PathValue("link"), Path: "/", SameSite: http.SameSiteLaxMode, MaxAge: 90 * 24 * 3600})
		http.Redirect(rw, r, "https://aws.amazon.com/marketplace/pp/prodview-example", http.StatusSeeOther)
	})
	w.app.mu.Lock()
	w.app.watch = func(r *http.Request) {
		if c, err := r.Cookie("partner"); err == nil && r.Method == http.MethodGet {
			pages <- c.Value
		}
	}
	w.app.mu.Unlock()
	b := w.buy(simulator.Purchase{Referral: "/r/acme"})
	plain := w.buy(simulator.Purchase{})
	lost := w.buy(simulator.Purchase{Referral: "/nowhere"})
	w.advance(time.Hour)
	for _, id := range []string{b.ID, plain.ID, lost.ID} {
		if got := w.buyer(id); !got.JoinKeySeen {
			t.Errorf("buyer %+v", got)
		}
	}
	if len(followed) != 1 || <-followed != "acme" || len(pages) == 0 || <-pages != "acme" {
		t.Errorf("followed %d times, seen on %d pages", len(followed), len(pages))
	}
	if got := w.buyer(lost.ID); !strings.Contains(got.Problem, "404") {
		t.Errorf("a dead link: %q", got.Problem)
	}
}
