package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// channel is how a buyer of the script comes.
type channel string

const (
	byLink    channel = "link"  // follows a partner's signed link, with a cookie jar
	byPartner channel = "offer" // a private offer, or a reseller
	byNothing channel = "none"
)

// The partners of the script.
const (
	referrer = "Cloud Weavers"
	dealer   = "Resale House"
)

// channelOf gives each channel a third of the buyers, mixed over marketplaces.
func channelOf(n int, markets []string) channel {
	return []channel{byLink, byPartner, byNothing}[(n%len(markets)+n/len(markets))%3]
}

// purchaseBy is a purchase that comes by a channel.
func (p *play) purchaseBy(b *buyer) simulator.Purchase {
	bought := simulator.Purchase{Marketplace: b.market}
	switch channelOf(b.n, p.markets) {
	case byLink:
		bought.Referral = p.links[b.market]
	case byPartner:
		bought.PrivateOffer = p.turn(b)%2 == 1
		bought.Reseller = !bought.PrivateOffer
	case byNothing:
	}
	return bought
}

// partners are made known before anybody buys; answers are referral links by marketplace.
func (c *appClient) partners(ctx context.Context, markets []string) (links map[string]string, dealerID string, err error) {
	var ids [2]string
	for i, name := range []string{referrer, dealer} {
		var made struct{ ID string }
		if err := c.call(ctx, http.MethodPost, c.app+"/v1/partners", jsonType, map[string]string{"name": name}, &made); err != nil {
			return nil, "", err
		}
		ids[i] = made.ID
	}
	links = map[string]string{}
	for _, m := range markets {
		var made struct{ URL string }
		if err := c.call(ctx, http.MethodPost, c.app+"/v1/partners/"+ids[0]+"/links", jsonType, map[string]string{"marketplace": m, "product": "tailnet"}, &made); err != nil {
			return nil, "", err
		}
		links[m] = made.URL
	}
	return links, ids[1], nil
}

// attribution is how the app says that a customer came.
type attribution struct {
	Customer string `json:"customer"`
	Route    string `json:"route"`
	Partner  string `json:"partner"`
	Evidence string `json:"evidence"`
}

// attributed is an attribution with what it is recognised and checked by.
type attributed struct {
	attribution
	Market  string `json:"marketplace"`
	Account string `json:"account"`
	By      struct {
		Kind string `json:"kind"`
		Ref  string `json:"ref"`
	} `json:"route_evidence"`
}

func (c *appClient) attributions(ctx context.Context) ([]attributed, error) {
	var page struct {
		Items []attributed `json:"items"`
	}
	return page.Items, c.get(ctx, "/v1/attribution?limit=200", &page)
}

// channelValue is a row of the value table.
type channelValue struct {
	Channel   string `json:"channel"`
	Customers int    `json:"customers"`
	Revenue   string `json:"revenue"`
	Currency  string `json:"currency"`
	// Unpriced is how many of the customers have accepted usage that is not in the revenue.
	Unpriced int    `json:"unpriced,omitempty"`
	Reason   string `json:"reason,omitempty"` // why
}

// attribute says who the offers and resellers are that nobody knows yet, as an
// operator would, and compares what the app then says with what the buyers did.
func (s *stage) attribute(r *report) error {
	ctx := s.play.ctx
	all, err := s.client.attributions(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Partner == "" && (a.By.Kind == "offer" || a.By.Kind == "reseller") {
			key := map[string]string{"marketplace": a.Market, "kind": a.By.Kind, "value": a.By.Ref}
			if err := s.client.call(ctx, http.MethodPost, s.client.app+"/v1/partners/"+s.play.dealer+"/keys", jsonType, key, nil); err != nil {
				return err
			}
		}
	}
	if all, err = s.client.attributions(ctx); err != nil {
		return err
	}
	var values struct {
		Items []channelValue `json:"items"`
	}
	if err := s.client.get(ctx, "/v1/value-by-channel", &values); err != nil {
		return err
	}
	r.Value = values.Items
	for i, v := range r.Value {
		if v.Unpriced > 0 {
			r.Value[i].Reason = fmt.Sprintf("%d of %d bought at prices of an offer or a reseller that the marketplace has not told us", v.Unpriced, v.Customers)
		}
	}
	said := map[string]attributed{}
	for _, a := range all {
		said[a.Market+" "+a.Account] = a
		r.Attribution = append(r.Attribution, a.attribution)
	}
	for _, b := range s.play.buyers {
		got, ok := said[b.market+" "+b.account]
		want := map[channel]string{byLink: referrer, byPartner: dealer, byNothing: ""}[channelOf(b.n, s.o.markets)]
		if !ok || got.Partner != want || (got.Route == "public_listing") == (want == dealer) {
			r.mistaken = append(r.mistaken, fmt.Sprintf("buyer %d of %s came by %q, and the app says %q by %q (%s)", b.n, b.market, want, got.Partner, got.Route, got.Evidence))
		}
	}
	return nil
}
