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
	byPartner channel = "offer" // a private offer on AWS, a reseller elsewhere
	byNothing channel = "none"
)

// The partners of the script.
const (
	referrer = "Cloud Weavers"
	dealer   = "Resale House"
)

// channelOf gives each channel a third of the buyers, mixed over marketplaces; one marketplace
// alone is the story of bills and has none.
func channelOf(n int, markets []string) channel {
	if len(markets) < 2 {
		return byNothing
	}
	return []channel{byLink, byPartner, byNothing}[(n+n/len(markets))%3]
}

// purchaseBy is a purchase that comes by a channel.
func (p *play) purchaseBy(b *buyer) simulator.Purchase {
	bought := simulator.Purchase{Marketplace: b.market}
	switch channelOf(b.n, p.markets) {
	case byLink:
		bought.Referral = p.links[b.market]
	case byPartner:
		bought.PrivateOffer, bought.Reseller = b.market == simulator.AWS, b.market != simulator.AWS
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
	Customer string   `json:"customer"`
	Market   string   `json:"marketplace"`
	Account  string   `json:"account"`
	Route    string   `json:"route"`
	Partner  string   `json:"partner"`
	Evidence string   `json:"evidence"`
	By       evidence `json:"route_evidence"`
}

type evidence struct {
	Kind string `json:"kind"`
	Ref  string `json:"ref"`
}

func (c *appClient) attributions(ctx context.Context) ([]attribution, error) {
	var page struct {
		Items []attribution `json:"items"`
	}
	return page.Items, c.get(ctx, "/v1/attribution?limit=200", &page)
}

// channelValue is a row of the value table.
type channelValue struct {
	Channel   string `json:"channel"`
	Customers int    `json:"customers"`
	Revenue   string `json:"revenue"`
	Currency  string `json:"currency"`
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
	if r.Attribution, err = s.client.attributions(ctx); err != nil {
		return err
	}
	var values struct {
		Items []channelValue `json:"items"`
	}
	if err := s.client.get(ctx, "/v1/value-by-channel", &values); err != nil {
		return err
	}
	r.Value = values.Items
	said := map[string]attribution{}
	for _, a := range r.Attribution {
		said[a.Market+" "+a.Account] = a
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
