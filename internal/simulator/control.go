package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// controlRoutes is the control API: plain HTTP on its own loopback port, documented in docs/simulator.md.
func (s *Simulator) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]string{"status": "ok"}, nil) })
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.caPEM)
	})
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) { reply(w, clockAnswer{s.Now()}, nil) })
	mux.HandleFunc("POST /clock/idle", handle(func(r *http.Request, in idleReport) (clockAnswer, error) {
		if in.Now.IsZero() {
			return clockAnswer{}, fmt.Errorf("now is required")
		}
		return clockAnswer{s.Idle(r.Context(), in.Replica, in.Now)}, nil
	}))
	mux.HandleFunc("POST /clock/advance", handle(func(r *http.Request, in advanceRequest) (clockAnswer, error) {
		to, err := in.target(s.Now())
		if err == nil {
			err = s.Advance(r.Context(), to)
		}
		return clockAnswer{s.Now()}, err
	}))
	mux.HandleFunc("POST /activity", handle(func(*http.Request, struct{}) (clockAnswer, error) {
		s.Activity()
		return clockAnswer{s.Now()}, nil
	}))
	mux.HandleFunc("POST /buy", handle(func(r *http.Request, in Purchase) (Buyer, error) { return s.Buy(r.Context(), in) }))
	mux.HandleFunc("POST /change", handle(func(r *http.Request, in struct {
		ID string `json:"id"`
		Change
	},
	) (Buyer, error) {
		return s.Change(r.Context(), in.ID, in.Change)
	}))
	mux.HandleFunc("POST /cancel", handle(func(r *http.Request, in struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	},
	) (Buyer, error) {
		return s.Cancel(r.Context(), in.ID, in.Status)
	}))
	mux.HandleFunc("POST /suspend", handle(func(r *http.Request, in struct {
		ID   string `json:"id"`
		Lift bool   `json:"lift"`
	},
	) (Buyer, error) {
		return s.Suspend(r.Context(), in.ID, !in.Lift)
	}))
	mux.HandleFunc("POST /token", handle(func(_ *http.Request, in struct {
		ID string `json:"id"`
	},
	) (map[string]string, error) {
		t, err := s.Token(in.ID)
		return map[string]string{"token": t}, err
	}))
	mux.HandleFunc("POST /faults", handle(s.setFaults))
	mux.HandleFunc("POST /app", handle(func(_ *http.Request, in struct {
		URL string `json:"url"`
	},
	) (map[string]string, error) {
		s.SetApp(in.URL)
		return map[string]string{"app": s.app()}, nil
	}))
	mux.HandleFunc("POST /mail", handle(func(_ *http.Request, in struct {
		Email string `json:"email"`
		Link  string `json:"link"`
	},
	) (map[string]string, error) {
		s.PutMail(in.Email, in.Link)
		return map[string]string{"email": in.Email}, nil
	}))
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Faults(), nil) })
	mux.HandleFunc("GET /bill", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Bill(), nil) })
	mux.HandleFunc("GET /rest", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Rest(), nil) })
	mux.HandleFunc("GET /agenda", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Agenda(), nil) })
	mux.HandleFunc("GET /buyers", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Buyers(), nil) })
	return s.counted(mux)
}

type clockAnswer struct {
	Now time.Time `json:"now"`
}

type idleReport struct {
	Now     time.Time `json:"now"`
	Replica string    `json:"replica"`
}

// advanceRequest moves to a time or by a duration such as "90m".
type advanceRequest struct {
	To time.Time `json:"to,omitzero"`
	By string    `json:"by,omitempty"`
}

func (a advanceRequest) target(now time.Time) (time.Time, error) {
	if a.By == "" {
		if a.To.IsZero() {
			return now, fmt.Errorf("to or by is required")
		}
		return a.To.UTC(), nil
	}
	d, err := time.ParseDuration(a.By)
	if err != nil {
		return now, fmt.Errorf("by: %w", err)
	}
	return now.Add(d), nil
}

type faultsRequest struct {
	Weather Weather `json:"weather,omitempty"`
	Off     []Kind  `json:"off,omitempty"`
	Force   []Force `json:"force,omitempty"`
}

func (s *Simulator) setFaults(_ *http.Request, in faultsRequest) (map[string]int, error) {
	known := func(k Kind) error {
		for _, one := range allKinds() {
			if one == k {
				return nil
			}
		}
		return fmt.Errorf("fault kind %q: want one of %v", k, allKinds())
	}
	for _, k := range in.Off {
		if err := known(k); err != nil {
			return nil, err
		}
	}
	for _, f := range in.Force {
		if err := known(f.Kind); err != nil {
			return nil, err
		}
	}
	switch in.Weather {
	case "":
	case WeatherGood, WeatherHostile:
		s.SetWeather(in.Weather)
	default:
		return nil, fmt.Errorf("weather %q: want hostile or good", in.Weather)
	}
	s.Stop(in.Off...)
	s.Force(in.Force...)
	return s.Faults(), nil
}

// handle reads a JSON body, calls do and writes its answer. Every mistake is the caller's, so an error is a 400 that says
// what was wrong.
func handle[In, Out any](do func(*http.Request, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if r.ContentLength != 0 {
			dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&in); err != nil {
				reply(w, nil, fmt.Errorf("read body: %w", err))
				return
			}
		}
		out, err := do(r, in)
		reply(w, out, err)
	}
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = map[string]string{"error": err.Error()}
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // the caller is gone
	}
}
