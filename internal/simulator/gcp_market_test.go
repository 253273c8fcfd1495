package simulator

import "testing"

// Two months of the clock are 17,000 steps, each with the app's consent; here time is simply set.
func TestWhatHappensInTheMonthsAfter(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Weather: WeatherGood})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Buy(t.Context(), Purchase{Marketplace: GCP, PrivateOffer: true, Habits: &Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	later := func(days int) {
		s.now = s.now.AddDate(0, 0, days)
		s.fireDue()
	}
	e := s.gcp.entitlement(b.Purchase)
	s.gcp.approve(e)
	later(1)
	if want := s.now.AddDate(1, 0, 0); e.state != entActive || !e.ends.Equal(want) {
		t.Fatalf("%s until %s", e.state, e.ends)
	}
	later(366)
	if want := s.now.AddDate(1, 0, 0); e.state != entActive || !e.ends.Equal(want) {
		t.Fatalf("a year later %s until %s", e.state, e.ends)
	}
	if err := s.gcp.cancel(e, ""); err != nil {
		t.Fatal(err)
	}
	later(1)
	if e.state != entCancelled || e.ends.After(s.now) {
		t.Fatalf("cancelled: %s until %s", e.state, e.ends)
	}
	later(59)
	if s.gcp.entitlement(b.Purchase) == nil {
		t.Fatal("forgotten too early")
	}
	if later(1); s.gcp.entitlement(b.Purchase) != nil {
		t.Fatal("not forgotten after sixty days")
	}
}
