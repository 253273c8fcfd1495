package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// assets are Pico CSS 2.1.1, htmx 2.0.11 and uPlot 1.6.32, whole and with their
// licences, and our own style sheet, scripts and mark.
//
//go:embed assets
var assets embed.FS

const assetPrefix = "/assets/"

// versions are short content hashes: a changed file has a new address, so
// browsers may keep the old one for ever.
var versions = func() map[string]string {
	out := map[string]string{}
	_ = fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		out[strings.TrimPrefix(name, "assets/")] = hex.EncodeToString(sum[:6])
		return nil
	})
	return out
}()

// asset is the address of an embedded file.
func asset(name string) string { return assetPrefix + name + "?v=" + versions[name] }

// Assets serves the embedded files.
func Assets() http.Handler {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".md": "text/plain; charset=utf-8", "": "text/plain; charset=utf-8"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, assetPrefix)
		version, ok := versions[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		body, err := assets.ReadFile("assets/" + name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		cache := "no-cache"
		if r.URL.Query().Get("v") == version {
			cache = "public, max-age=31536000, immutable"
		}
		w.Header().Set("Content-Type", types[path.Ext(name)])
		w.Header().Set("Cache-Control", cache)
		w.Header().Set("ETag", `"`+version+`"`)
		if r.Header.Get("If-None-Match") == `"`+version+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body) // the client went away
	})
}
