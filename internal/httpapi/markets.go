package httpapi

import (
	"strings"

	"github.com/tailmarket/tailmarket/internal/console"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// markets are the words of each marketplace's own console: a buyer is led back by
// the names that stand on the buttons there. A page names one marketplace, or none.
var markets = map[marketplace.ID]console.Market{
	marketplace.AWS: {
		Name: "AWS Marketplace", Account: "AWS account", Button: "Set up your account", Menu: "AWS Marketplace › Manage subscriptions",
		Token: "registration token", Lives: "a few hours",
	},
	marketplace.GCP: {
		Name: "Google Cloud Marketplace", Account: "Google Cloud account", Button: "Manage on provider", Menu: "Google Cloud console › Marketplace › Your orders",
		Token: "sign-up token", Lives: "a few minutes",
	},
	marketplace.Azure: {
		Name: "Azure Marketplace", Account: "Microsoft account", Button: "Configure account", Menu: "Azure portal › Software as a Service (SaaS)",
		Token: "purchase token", Lives: "24 hours",
	},
}

// nowhere is for pages that cannot know where a purchase was made.
var nowhere = console.Market{
	Name: "the marketplace", Account: "account", Button: "Set up your account", Menu: "your purchases in the marketplace", Token: "registration token", Lives: "a few hours",
}

// market is the marketplace a page is about: m, or the only one that is set up.
func (s *Server) market(m marketplace.ID) console.Market {
	if m == "" && len(s.Markets) == 1 {
		m = s.Markets[0]
	}
	if known, ok := markets[m]; ok {
		return known
	}
	return nowhere
}

// worded puts a marketplace's names into a text that has places for them.
func worded(m console.Market, text string) string {
	return upper(strings.NewReplacer("{market}", m.Name, "{account}", m.Account, "{button}", m.Button, "{menu}", m.Menu, "{token}", m.Token, "{lives}", m.Lives).Replace(text))
}

// upper starts a sentence that begins with a name of no marketplace's own.
func upper(text string) string {
	if strings.HasPrefix(text, nowhere.Name) {
		return "T" + text[1:]
	}
	return text
}
