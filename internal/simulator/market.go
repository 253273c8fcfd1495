package simulator

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// The marketplaces.
const (
	AWS   = "aws"
	GCP   = "gcp"
	Azure = "azure"
)

// market is one marketplace: what it sells, tells and bills. All but server and stop need the simulator's lock.
type market interface {
	// buy makes the deal of a purchase and schedules its events; for number and nth see deal.
	buy(number, nth int, p Purchase) (deal, error)
	// find returns the newest deal that a vendor's id names, or nil. Buyers are found by the simulator.
	find(id string) deal
	cancel(d deal, status string) error
	// change returns the deal to look at from now on, a new one if the old one was replaced.
	change(d deal, c Change) (deal, error)
	suspend(d deal, on bool)
	bill() []BillLine
	// pending is how many messages in its queue are not acknowledged; the clock waits for all of them.
	pending() int
	// server answers the marketplace's one HTTPS port.
	server() *http.Server
	stop()
}

// deal is one purchase. All its methods need the simulator's lock.
type deal interface {
	// purchase is its number among all purchases, and among those of its marketplace; both from 0. Misfortunes and
	// habits go by the second, so that each marketplace meets all of them.
	purchase() (number, nth int)
	// describe fills in what the marketplace knows of the purchase.
	describe(b *Buyer)
	// over is when it ended; zero while it runs.
	over() time.Time
	// arrive is how the marketplace sends the buyer's browser to the app, with the nth fresh token; below 0: another one.
	arrive(nth int) arrival
}

// arrival is a browser's way from the marketplace to the app: a cross-site POST of a form, or a GET with a query.
type arrival struct {
	method string
	path   string
	origin string // of the marketplace's console
	values url.Values
	token  string        // the secret in values
	life   time.Duration // virtual: of the token
	// signedIn is what the vendor's sign-in page at site knows the browser by; nil where there is none.
	site     string
	signedIn *http.Cookie
}

// stall is a marketplace and the port where it is met.
type stall struct {
	market
	name      string
	addr      string   // to listen on
	protocols []string // the port offers over TLS
	port      net.Listener
	sold      int
}

func (s *Simulator) stall(name string) (*stall, error) {
	if name == "" {
		name = AWS
	}
	for _, st := range s.stalls {
		if st.name == name {
			return st, nil
		}
	}
	return nil, fmt.Errorf("marketplace %q: want one of %v", name, s.marketplaces())
}

func (s *Simulator) marketplaces() []string {
	names := make([]string, 0, len(s.stalls))
	for _, st := range s.stalls {
		names = append(names, st.name)
	}
	return names
}

// url is a marketplace's endpoint.
func (s *Simulator) url(name string) string {
	st, err := s.stall(name)
	if err != nil || st.port == nil {
		return ""
	}
	return "https://" + st.port.Addr().String()
}

// pending is how many messages wait in the marketplaces' queues; the lock is held.
func (s *Simulator) pending() int {
	n := 0
	for _, st := range s.stalls {
		n += st.pending()
	}
	return n
}

// find returns the deal that id names, the market it is of and its buyer; the lock is held.
func (s *Simulator) find(id string) (*stall, deal, *buyer, error) {
	for _, b := range s.buyers {
		if b.seen.ID == id {
			return b.stall, b.deal, b, nil
		}
	}
	for _, st := range s.stalls {
		if d := st.find(id); d != nil {
			number, _ := d.purchase()
			return st, d, s.buyers[number], nil
		}
	}
	return nil, nil, nil, fmt.Errorf("no purchase or buyer %q", id)
}

// tell lets the observer of calls know; the lock is not held.
func (s *Simulator) tell(op, phase string) {
	if s.o.OnAnswer != nil {
		s.o.OnAnswer(op, phase)
	}
}
