package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tailmarket/tailmarket/internal/money"
)

// usageEvent is a CloudEvent as the vendor's product sends it.
type usageEvent struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	Data        struct {
		Meter    string    `json:"meter"`
		Quantity string    `json:"quantity"`
		Of       string    `json:"of,omitempty"`
		Corrects *eventRef `json:"corrects,omitempty"`
	} `json:"data"`
}

type eventRef struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// appClient speaks to the app as anybody else would. The app may be killed at
// any time, so every call is tried again until it answers, bounded in wall time;
// all calls are safe to repeat.
type appClient struct {
	app, embedded string
	key           string // the operator's
	http          *http.Client
	activity      func()       // tells the clock that there may be new work
	alive         func() error // why trying again is in vain, or nil
}

const patience = 60 * time.Second

// call sends body and decodes the answer into out, both optional. Another status
// than 2xx is an error; 5xx and broken connections are tried again.
func (c *appClient) call(ctx context.Context, method, u, contentType string, body, out any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		status, answer, err := c.once(ctx, method, u, contentType, raw)
		c.activity()
		switch {
		case err == nil && status/100 == 2:
			if out == nil {
				return nil
			}
			return json.Unmarshal(answer, out)
		case err == nil && status < 500 && status != http.StatusTooManyRequests:
			return fmt.Errorf("%s %s answered %d: %.300s", method, u, status, answer)
		}
		if dead := c.alive(); dead != nil {
			return dead
		}
		if perr := pause(ctx, wait); perr != nil {
			return fmt.Errorf("%s %s: status %d %.300s: %w", method, u, status, answer, errors.Join(perr, err))
		}
	}
}

func (c *appClient) once(ctx context.Context, method, u, contentType string, raw []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if raw != nil {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return res.StatusCode, answer, err
}

const jsonType = "application/json"

func (c *appClient) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, c.app+path, "", nil, out)
}

// usage posts events and requires one outcome for all of them. After a repeat of
// the call itself (the answer was lost) events may be duplicates of their own.
func (c *appClient) usage(ctx context.Context, batch []usageEvent, want string) error {
	var answer struct {
		Results []struct {
			ID      string `json:"id"`
			Outcome string `json:"outcome"`
			Detail  string `json:"detail"`
		} `json:"results"`
	}
	if err := c.call(ctx, http.MethodPost, c.app+"/v1/usage", "application/cloudevents-batch+json", batch, &answer); err != nil {
		return err
	}
	if len(answer.Results) != len(batch) {
		return fmt.Errorf("%d usage events got %d results", len(batch), len(answer.Results))
	}
	for _, r := range answer.Results {
		if r.Outcome != want && (want != "accepted" || r.Outcome != "duplicate") {
			return fmt.Errorf("usage event %s was %s (%s), want %s", r.ID, r.Outcome, r.Detail, want)
		}
	}
	return nil
}

func (c *appClient) simURL(kind, tailnet, id string) string {
	return c.embedded + "/sim/" + kind + "/" + url.PathEscape(tailnet) + "/" + url.PathEscape(id)
}

func (c *appClient) addUser(ctx context.Context, tailnet, id string, at time.Time) error {
	return c.call(ctx, http.MethodPut, c.simURL("users", tailnet, id), jsonType, map[string]any{"login_name": id + "@buyer.example", "joined_at": at}, nil)
}

// addNode adds a tagged machine; an ephemeral one is gone when it disconnects.
func (c *appClient) addNode(ctx context.Context, tailnet, id string, ephemeral bool, at time.Time) error {
	body := map[string]any{"hostname": id, "tags": []string{"tag:server"}, "ephemeral": ephemeral, "joined_at": at}
	return c.call(ctx, http.MethodPut, c.simURL("nodes", tailnet, id), jsonType, body, nil)
}

// remove ends the presence of a person or node; kind is users or nodes.
func (c *appClient) remove(ctx context.Context, kind, tailnet, id string, at time.Time) error {
	return c.call(ctx, http.MethodDelete, c.simURL(kind, tailnet, id), jsonType, map[string]any{"left_at": at}, nil)
}

// purchase is a subscription as the operator's API tells it.
type purchase struct {
	ID          string `json:"id"`
	Marketplace string `json:"marketplace"`
	Purchase    string `json:"purchase"` // AWS: the licence
	State       string `json:"state"`
	TailnetID   string `json:"tailnet_id"`
}

// subscription finds a purchase by the marketplace's key of it; nil while the app has not heard of it.
func (c *appClient) subscription(ctx context.Context, market, key string) (*purchase, error) {
	var page struct {
		Items []purchase `json:"items"`
	}
	err := c.get(ctx, "/v1/subscriptions?marketplace="+market+"&purchase="+url.QueryEscape(key), &page)
	if err != nil || len(page.Items) == 0 {
		return nil, err
	}
	return &page.Items[0], nil
}

func (c *appClient) subscriptions(ctx context.Context) ([]purchase, error) {
	var all []purchase
	for after := ""; ; {
		var page struct {
			Items []purchase `json:"items"`
			Next  string     `json:"next"`
		}
		if err := c.get(ctx, "/v1/subscriptions?limit=100&after="+url.QueryEscape(after), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// ledger is the app's report of where every unit is.
type ledger struct {
	Broken   int      `json:"conservation_broken"`
	Unsure   string   `json:"unsure"`
	Problems []string `json:"problems"`
	Meters   []struct {
		Marketplace, Subscription, Meter                                        string
		Measured, Open, Carried, Held, Queued, Sent, Unsure, Accepted, Included string
		WrittenOff                                                              string `json:"written_off"`
		CreditLeft                                                              string `json:"credit_left"`
		Submitted                                                               string
	} `json:"meters"`
}

func (c *appClient) ledger(ctx context.Context) (out ledger, err error) {
	return out, c.get(ctx, "/v1/conservation", &out)
}

// used is what the app measured of a purchase, net of corrections, by the period of the
// hour it was used in.
func (c *appClient) used(ctx context.Context, sub string, month period) (measured, error) {
	out := measured{}
	for after := ""; ; {
		var page struct {
			Items []struct{ Meter, Hour, Measured, Corrected string } `json:"items"`
			Next  string                                              `json:"next"`
		}
		if err := c.get(ctx, "/v1/subscriptions/"+sub+"/hours?limit=500&after="+url.QueryEscape(after), &page); err != nil {
			return nil, err
		}
		for _, h := range page.Items {
			at, err := time.Parse("2006-01-02T15Z", h.Hour)
			if err != nil {
				return nil, err
			}
			more, err := money.Parse(h.Measured, scales[h.Meter])
			if err != nil {
				return nil, err
			}
			less, err := money.Parse(h.Corrected, scales[h.Meter])
			if err != nil {
				return nil, err
			}
			out.add(h.Meter, month(at), more-less)
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

// goLive ends observe mode from the hour that at lies in.
func (c *appClient) goLive(ctx context.Context, at time.Time) error {
	return c.call(ctx, http.MethodPost, c.app+"/v1/products/tailnet/go-live", jsonType, map[string]string{"from": at.UTC().Format("2006-01-02T15Z")}, nil)
}

// mail reads the newest link that was sent to an address, as its owner would:
// without a mail server, mail waits in the operator's outbox.
func (c *appClient) mail(ctx context.Context, email string) (string, error) {
	var page struct {
		Items []struct{ To, Link string } `json:"items"`
	}
	if err := c.get(ctx, "/v1/outbox?limit=100", &page); err != nil {
		return "", err
	}
	for _, m := range page.Items {
		if m.To == email {
			return m.Link, nil
		}
	}
	return "", nil
}

func (c *appClient) operatorLink(ctx context.Context) (string, error) {
	var out struct{ URL string }
	return out.URL, c.call(ctx, http.MethodPost, c.app+"/v1/operator-links", jsonType, nil, &out)
}
