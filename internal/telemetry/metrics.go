package telemetry

import (
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is the program's registry and the few numbers that belong to no
// single room. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	stations *stations
	answers  *prometheus.CounterVec
	broken   prometheus.Gauge
	checked  prometheus.Gauge
}

// NewMetrics makes a registry with what is known at start: the build, the Go
// runtime and the process.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		stations: newStations(),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tailmarket_webhook_answers_total",
			Help: "Answers given to marketplaces' messages, by HTTP status; a forged message leaves nothing but this.",
		}, []string{Marketplace, Status}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tailmarket_conservation_broken",
			Help: "Meters of subscriptions whose measured units are not in exactly one place; anything but 0 is an incident.",
		}),
		checked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tailmarket_conservation_checked_timestamp_seconds",
			Help: "Wall time at which conservation was last checked; 0 when never.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tailmarket_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	build.Set(1)
	m.registry.MustRegister(m.stations, m.answers, m.broken, m.checked, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// WebhookAnswered counts one answer to a marketplace. Labels are ours and never
// the sender's, who could otherwise make as many series as he likes.
func (m *Metrics) WebhookAnswered(marketplace string, status int) {
	m.answers.WithLabelValues(marketplace, strconv.Itoa(status)).Inc()
}

// Conservation records the outcome of a check made at the given wall time.
func (m *Metrics) Conservation(broken int, at time.Time) {
	m.broken.Set(float64(broken))
	m.checked.Set(float64(at.UnixMilli()) / 1e3)
}

// Redis tells for how long Redis has not been answering. Nothing fails meanwhile,
// so it is worth a look and not an alarm at night.
func (m *Metrics) Redis(lost func() time.Duration) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tailmarket_redis_lost_seconds",
		Help: "For how long Redis has not been answering this replica; 0 when it answers or none is set.",
	}, func() float64 { return lost().Seconds() }))
}

// Private serves /metrics and /debug/pprof/. It belongs on the private listener:
// a profile shows memory.
func (m *Metrics) Private() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
