package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
	"github.com/tailmarket/tailmarket/internal/provisioning"
	"github.com/tailmarket/tailmarket/internal/subscription"
)

const (
	scanPage  = 500  // purchases read at a time
	scanLimit = 5000 // and for one page: states are computed, so no index finds them
)

// purchaseRow says what an operator needs to know of a purchase. The network is
// asked only where the answer depends on it.
func (s *Server) purchaseRow(ctx context.Context, sub subscription.Subscription) (console.PurchaseRow, error) {
	var net provisioning.View
	if st := sub.State(s.Now()); st == subscription.StateProvisioning {
		var err error
		if net, err = s.Tailnets.View(ctx, sub.ID); err != nil {
			return console.PurchaseRow{}, err
		}
	}
	return s.rowOf(sub, net), nil
}

func (s *Server) rowOf(sub subscription.Subscription, net provisioning.View) console.PurchaseRow {
	now, market := s.Now(), markets[sub.Marketplace].Name
	if market == "" {
		market = string(sub.Marketplace)
	}
	row := console.PurchaseRow{
		ID: string(sub.ID), Name: sub.TailnetName, Marketplace: market, Account: sub.Account, Product: s.productTitle(sub.Product),
		State: string(sub.State(now)), BoughtAt: sub.CreatedAt, EndsAt: sub.EndsAt(),
	}
	if row.Name == "" {
		row.Name = row.ID
	}
	row.Why, row.Waiting, row.Acts = operatorWords(sub, net, now)
	for _, w := range s.Purchases.Due(sub) {
		switch {
		case w.Held:
			row.Change, row.Acts = w.Subject, console.ActsYou
			row.Why, row.Waiting = fmt.Sprintf("a change to the plan “%s” was asked for, and the catalog does not know that plan", w.Subject), "you to agree or to refuse"
		case row.Acts == console.ActsMarketplace:
			row.Why, row.Waiting, row.Acts = "", fmt.Sprintf("the marketplace to take our word: %s", spaced(string(w.Kind))), console.ActsItself
		}
	}
	row.Why, row.Waiting = named(row.Why, market), worded(s.market(sub.Marketplace), named(row.Waiting, market))
	return row
}

// operatorWords says why a purchase is as it is, what it waits for and who must
// act: what a buyer's page calls “us” is either the operator or nobody.
func operatorWords(sub subscription.Subscription, net provisioning.View, now time.Time) (why, waiting string, acts console.Acts) {
	f := sub.Facts
	switch sub.State(now) {
	case subscription.StatePending:
		return "", "the marketplace to confirm the purchase, and somebody to confirm an address", console.ActsBuyer
	case subscription.StateAwaitingBuyer:
		return "", "somebody to press “{button}” and confirm an address", console.ActsBuyer
	case subscription.StateAwaitingMarketplace:
		if f.StartsAt.After(now) {
			return "", "the agreed start on " + f.StartsAt.UTC().Format("2 January 2006 15:04 UTC"), console.ActsItself
		}
		return "", "the marketplace to confirm the purchase", console.ActsMarketplace
	case subscription.StateProvisioning:
		switch {
		case f.Blocked.Reason != "":
			return f.Blocked.Reason, "a person to look at it", console.ActsYou
		case f.LiveFrom.IsZero():
			return "the product is only watched", "you to name its first hour, with “api product go-live”", console.ActsYou
		case f.LiveFrom.After(now):
			return "the product is not open yet", "its first hour, " + f.LiveFrom.UTC().Format("2 January 2006 15:04 UTC"), console.ActsItself
		case !f.ReadyAt.IsZero():
			return "the network is ready", "the marketplace to confirm the activation", console.ActsMarketplace
		case net.WaitingFor != "" && net.Usually == 0:
			return net.WaitingFor, "whoever can clear it: " + net.WhoActs, console.ActsYou
		case net.WaitingFor != "":
			return "", "its network: " + net.WaitingFor, console.ActsItself
		}
		return "", "its network to be set up", console.ActsItself
	case subscription.StateActive:
		if f.Blocked.Reason != "" {
			return f.Blocked.Reason, "a person to look at it", console.ActsYou
		}
	case subscription.StateSuspended:
		return "usually a payment is open", "the marketplace to lift the suspension", console.ActsMarketplace
	case subscription.StateEnding:
		return endWords(f), "the last usage to be sent to the marketplace", console.ActsItself
	case subscription.StateEnded:
		return endWords(f), "", console.ActsNobody
	case subscription.StateRejected:
		return "the marketplace refused it, usually because a payment failed", "a new attempt there", console.ActsBuyer
	}
	return "", "", console.ActsNobody
}

func endWords(f subscription.Facts) string {
	switch reason := f.EndReason(); {
	case f.Replaced.By != "":
		return "continued by " + f.Replaced.By + "; the network stays"
	case reason != "":
		return "ended by the marketplace: " + reason
	}
	return ""
}

// actsOf are the values of the filter.
var actsOf = map[string]console.Acts{"you": console.ActsYou, "buyer": console.ActsBuyer, "marketplace": console.ActsMarketplace, "itself": console.ActsItself}

// scan reads purchases after a cursor until enough of them are kept or scanLimit
// of them were read; next is the cursor to go on with, empty at the end.
func (s *Server) scan(ctx context.Context, f subscription.Filter, keep func(subscription.Subscription) (enough bool, err error)) (looked int, next id.Subscription, err error) {
	for f.Limit = scanPage; looked < scanLimit; {
		page, err := s.Purchases.List(ctx, f)
		if err != nil {
			return looked, "", err
		}
		for i, sub := range page {
			looked++
			enough, err := keep(sub)
			if err != nil {
				return looked, "", err
			}
			if enough && (i+1 < len(page) || len(page) == scanPage) {
				return looked, sub.ID, nil
			}
		}
		if len(page) < scanPage {
			return looked, "", nil
		}
		f.After = page[len(page)-1].ID
	}
	return looked, f.After, nil
}

// purchasesPage lists purchases with their state, the reason and who must act.
func (s *Server) purchasesPage(c echo.Context) error {
	ctx := c.Request().Context()
	q := console.PurchaseQuery{
		Marketplace: c.QueryParam("marketplace"), State: c.QueryParam("state"), Acts: c.QueryParam("act"), Text: strings.TrimSpace(c.QueryParam("q")), After: c.QueryParam("after"),
	}
	v := console.Purchases{Site: s.Site, Query: q}
	for _, m := range s.Markets {
		v.Marketplaces = append(v.Marketplaces, console.Choice{Value: string(m), Label: markets[m].Name})
	}
	for _, st := range subscription.States {
		v.States = append(v.States, console.Choice{Value: string(st), Label: strings.ReplaceAll(string(st), "_", " ")})
	}
	looked, next, err := s.scan(ctx, subscription.Filter{Marketplace: marketplace.ID(q.Marketplace), After: id.Subscription(q.After)}, func(sub subscription.Subscription) (bool, error) {
		if q.State != "" && string(sub.State(s.Now())) != q.State || !mentions(sub, q.Text) {
			return false, nil
		}
		row, err := s.purchaseRow(ctx, sub)
		if err == nil && (q.Acts == "" || row.Acts == actsOf[q.Acts]) {
			v.Rows = append(v.Rows, row)
		}
		return len(v.Rows) == pageRows, err
	})
	if err != nil {
		return err
	}
	v.Looked, v.Next = looked, string(next)
	return s.page(c, http.StatusOK, console.PurchasesPage(v))
}

// mentions reports that one of the names a purchase goes by holds the text.
func mentions(sub subscription.Subscription, text string) bool {
	if text == "" {
		return true
	}
	text = strings.ToLower(text)
	for _, name := range []string{string(sub.ID), sub.TailnetName, sub.Account, sub.Purchase, string(sub.Customer)} {
		if strings.Contains(strings.ToLower(name), text) {
			return true
		}
	}
	return false
}
