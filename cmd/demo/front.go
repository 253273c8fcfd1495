package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"
)

// front is the one address of several replicas. Every request goes to the next of
// them; to another only when that one cannot be reached, because then nothing of it
// was sent. What a replica took and did not answer is cut off like any lost answer.
type front struct {
	addr string
	to   []string // addresses
	next atomic.Uint64
	srv  *http.Server
}

func newFront(listen string, to []string, log *slog.Logger) (*front, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", listen)
	if err != nil {
		return nil, err
	}
	f := &front{addr: l.Addr().String(), to: to}
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	f.srv = &http.Server{ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet, Handler: &httputil.ReverseProxy{
		// A connection for each request: a kept one would stay with its replica.
		Transport: &http.Transport{DialContext: f.dial, DisableKeepAlives: true, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", r.In.Host, r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     quiet,
	}}
	go func() {
		if err := f.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the front of the replicas ended", "error", err)
		}
	}()
	return f, nil
}

// dial ignores the address: who is there is the front's to choose.
func (f *front) dial(ctx context.Context, network, _ string) (c net.Conn, err error) {
	first := f.next.Add(1)
	for i := range uint64(len(f.to)) {
		if c, err = new(net.Dialer).DialContext(ctx, network, f.to[(first+i)%uint64(len(f.to))]); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (f *front) close() { _ = f.srv.Close() }
