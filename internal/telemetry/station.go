package telemetry

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Oldest tells how long the oldest waiting thing has waited; zero when nothing
// waits. It is called each time the metrics are read.
type Oldest func(ctx context.Context) (time.Duration, error)

// Station is one place of the pipeline. A nil Station counts nothing, for tests
// that do not look.
type Station struct {
	in, out prometheus.Counter
}

// In counts n things that came in.
func (s *Station) In(n int) {
	if s != nil {
		s.in.Add(float64(n))
	}
}

// Out counts n things that are finished here.
func (s *Station) Out(n int) {
	if s != nil {
		s.out.Add(float64(n))
	}
}

// Station makes the station of that name; with a nil oldest its age is not
// told. A name is used once: a second station of the same name panics.
func (m *Metrics) Station(name string, oldest Oldest) *Station {
	m.stations.mu.Lock()
	defer m.stations.mu.Unlock()
	if _, twice := m.stations.oldest[name]; twice {
		panic("telemetry: station " + name + " made twice")
	}
	m.stations.oldest[name] = oldest
	return &Station{in: m.stations.in.WithLabelValues(name), out: m.stations.out.WithLabelValues(name)}
}

// ageTimeout bounds the questions of one reading of the metrics.
const ageTimeout = 5 * time.Second

// stations collects the three numbers of all stations.
type stations struct {
	in, out, failed *prometheus.CounterVec
	age             *prometheus.Desc

	mu     sync.Mutex
	oldest map[string]Oldest
}

func newStations() *stations {
	label := []string{"station"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, label)
	}
	return &stations{
		in:     counter("tailmarket_station_in_total", "Things that came into a station."),
		out:    counter("tailmarket_station_out_total", "Things that are finished at a station."),
		failed: counter("tailmarket_station_age_errors_total", "Times the age of a station's oldest thing could not be told."),
		age: prometheus.NewDesc("tailmarket_station_oldest_seconds",
			"Age of the oldest thing that waits at a station, 0 when nothing waits; missing when it cannot be told.", label, nil),
		oldest: map[string]Oldest{},
	}
}

func (s *stations) Describe(ch chan<- *prometheus.Desc) {
	s.in.Describe(ch)
	s.out.Describe(ch)
	s.failed.Describe(ch)
	ch <- s.age
}

func (s *stations) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), ageTimeout)
	defer cancel()
	for name, oldest := range s.copy() {
		if oldest == nil {
			continue
		}
		age, err := oldest(ctx)
		if err != nil {
			// A missing series alerts like a growing one; the other stations are still told.
			s.failed.WithLabelValues(name).Inc()
			continue
		}
		ch <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, age.Seconds(), name)
	}
	s.in.Collect(ch)
	s.out.Collect(ch)
	s.failed.Collect(ch)
}

// copy lets the ages be asked for without the lock: they go to the database.
func (s *stations) copy() map[string]Oldest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.oldest)
}
