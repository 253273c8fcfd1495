package fleet

import (
	"testing"
	"time"
)

var plenty = Limit{Calls: 1_000_000_000, Per: time.Second}

// What a call to a marketplace pays for its budget.
func BenchmarkTake(b *testing.B) {
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			f, _ := open(b, place.env, nil)
			for b.Loop() {
				if err := f.Budget.Take(b.Context(), "name", plenty); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Redis is lost", func(b *testing.B) {
		var p plug
		f, _ := open(b, oneRedis, func(o *Options) { o.dial, o.pause = p.dial, pauseAfterLoss })
		p.set(true, false)
		for b.Loop() {
			if err := f.Budget.Take(b.Context(), "name", plenty); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The same from many at once, as workers do.
func BenchmarkTakeParallel(b *testing.B) {
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			f, _ := open(b, place.env, nil)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f.Budget.Take(b.Context(), "name", plenty); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkCacheGet(b *testing.B) {
	for _, place := range places {
		b.Run(place.name, func(b *testing.B) {
			f, _ := open(b, place.env, nil)
			f.Cache.Put(b.Context(), "key", make([]byte, 300), time.Hour)
			for b.Loop() {
				if _, ok := f.Cache.Get(b.Context(), "key"); !ok {
					b.Fatal("the value went")
				}
			}
		})
	}
}
