package simulator

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// marketplaceOrigin is the site from which the registration POST comes.
const marketplaceOrigin = "https://aws.amazon.com"

// browser is as much of one as a registration needs: cookies, redirects, forms. One visit uses it at a time.
type browser struct {
	client *http.Client
	jar    *laxJar
}

// laxJar keeps SameSite=Lax promises: no cookie travels on a POST from another site, all do on the GET that follows it.
type laxJar struct {
	http.CookieJar
	foreign bool
}

func (j *laxJar) Cookies(u *url.URL) []*http.Cookie {
	if j.foreign {
		return nil
	}
	return j.CookieJar.Cookies(u)
}

func newBrowser() *browser {
	inner, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // the standard jar without options has no way to fail
	}
	b := &browser{jar: &laxJar{CookieJar: inner}}
	b.client = &http.Client{
		// A connection per request: buyers come minutes apart, and a kept one would be dead after a kill.
		Transport: &http.Transport{DisableKeepAlives: true},
		Jar:       b.jar, Timeout: 10 * time.Second,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			b.jar.foreign = false
			if len(via) > 10 {
				return fmt.Errorf("more than 10 redirects")
			}
			return nil
		},
	}
	return b
}

// page is what the buyer sees.
type page struct {
	url     *url.URL
	status  int
	state   string // data-state
	joinKey string
	forms   []form
}

// form is one form with data-step, its fields filled as the page filled them.
type form struct {
	step, method, action string
	values               url.Values
}

func (p *page) form(step string) (form, bool) {
	for _, f := range p.forms {
		if f.step == step {
			return f, true
		}
	}
	return form{}, false
}

func (b *browser) get(ctx context.Context, address string) (*page, error) {
	return b.patiently(ctx, http.MethodGet, address, nil, "")
}

// submit sends a form of a page, from that page's own origin.
func (b *browser) submit(ctx context.Context, p *page, f form) (*page, error) {
	target, err := p.url.Parse(f.action)
	if err != nil {
		return nil, fmt.Errorf("form %s: action %q: %w", f.step, f.action, err)
	}
	return b.patiently(ctx, f.method, target.String(), f.values, p.url.Scheme+"://"+p.url.Host)
}

// arrive is the marketplace's cross-site POST.
func (b *browser) arrive(ctx context.Context, address, token string) (*page, error) {
	return b.patiently(ctx, http.MethodPost, address, url.Values{"x-amzn-marketplace-token": {token}}, marketplaceOrigin)
}

// patiently tries until there is an answer below 500, or ctx ends.
func (b *browser) patiently(ctx context.Context, method, address string, form url.Values, origin string) (*page, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		p, err := b.once(ctx, method, address, form, origin)
		if err == nil && p.status < 500 && p.status != http.StatusTooManyRequests {
			return p, nil
		}
		if !sleep(ctx, pause) {
			if err == nil {
				err = fmt.Errorf("status %d", p.status)
			}
			return nil, fmt.Errorf("%s %s: %w", method, path(address), err)
		}
	}
}

func (b *browser) once(ctx context.Context, method, address string, form url.Values, origin string) (*page, error) {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	req.Header.Set("User-Agent", "Mozilla/5.0 (buyer)")
	b.jar.foreign = origin == marketplaceOrigin
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", origin)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		if b.jar.foreign {
			req.Header.Set("Sec-Fetch-Site", "cross-site")
		}
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	root, err := html.Parse(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	p := &page{url: resp.Request.URL, status: resp.StatusCode}
	p.read(root)
	return p, nil
}

// path keeps tokens and links, which are secrets, out of problem texts.
func path(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "page"
	}
	return u.Path
}

func (p *page) read(root *html.Node) {
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if state := attr(n, "data-state"); state != "" && (p.state == "" || n.Data == "body") {
			p.state = state
		}
		switch {
		case n.Data == "form" && attr(n, "data-step") != "":
			p.forms = append(p.forms, readForm(n))
		case n.Data == "code" && attr(n, "id") == "join-key":
			p.joinKey = strings.TrimSpace(text(n))
		}
	}
}

func readForm(n *html.Node) form {
	f := form{step: attr(n, "data-step"), method: strings.ToUpper(attr(n, "method")), action: attr(n, "action"), values: url.Values{}}
	if f.method == "" {
		f.method = http.MethodGet
	}
	pressed := false
	for c := range n.Descendants() {
		if c.Type != html.ElementNode || attr(c, "name") == "" && c.Data != "option" {
			continue
		}
		name, value := attr(c, "name"), attr(c, "value")
		switch kind := strings.ToLower(attr(c, "type")); {
		case c.Data == "textarea":
			f.values.Add(name, text(c))
		case c.Data == "select":
			f.values.Add(name, chosen(c))
		case c.Data == "input" && (kind == "checkbox" || kind == "radio"):
			if has(c, "checked") || kind == "checkbox" && has(c, "required") {
				f.values.Add(name, orOn(value))
			}
		case c.Data == "input" && kind == "submit", c.Data == "button" && (kind == "" || kind == "submit"):
			if !pressed {
				f.values.Add(name, value)
			}
			pressed = true
		case c.Data == "input" && kind != "button" && kind != "reset" && kind != "file" && kind != "image":
			f.values.Add(name, value)
		}
	}
	return f
}

func chosen(sel *html.Node) string {
	first, found := "", false
	for o := range sel.Descendants() {
		if o.Type != html.ElementNode || o.Data != "option" {
			continue
		}
		if value := attr(o, "value"); has(o, "selected") {
			return value
		} else if !found {
			first, found = value, true
		}
	}
	return first
}

func orOn(v string) string {
	if v == "" {
		return "on"
	}
	return v
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	for _, a := range n.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}
