package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/tailmarket/tailmarket/internal/httpapi"
)

// BenchmarkUsageCall reads and answers the largest call, compressed; what storing
// its events takes is BenchmarkIngest in internal/store.
func BenchmarkUsageCall(b *testing.B) {
	w := setup(b, func(o *httpapi.Options) { o.Limits.UsageBody = 8 << 20 })
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	for i := range 10_000 {
		sep := ","
		if i == 0 {
			sep = "["
		}
		_, _ = z.Write([]byte(sep + event(strconv.Itoa(i))))
	}
	_, _ = z.Write([]byte("]"))
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/usage", bytes.NewReader(body.Bytes()))
		r.Header.Set("Authorization", "Bearer "+w.opkey)
		r.Header.Set("Content-Type", batch)
		r.Header.Set("Content-Encoding", "gzip")
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK {
			b.Fatalf("answered %d %.200s", rec.Code, rec.Body)
		}
		w.ingested = nil
	}
}
