package subscription

import (
	"slices"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Rules say how the words of one marketplace bear on a purchase; a new
// marketplace is a row here and an adapter, not a branch elsewhere.
type Rules struct {
	// EntitledBy are the events that entitle besides Entitled itself.
	EntitledBy []marketplace.EventKind
	// EndsBy are the events that begin the end.
	EndsBy []marketplace.EventKind
	// NeverEnds are the vendor's reasons under which an end is a continuation.
	NeverEnds []string
	// NeedsConfirmation: active only after the marketplace took our activation.
	NeedsConfirmation bool
	// ProvisionUnclaimed: the network is made before a person came.
	ProvisionUnclaimed bool
}

// rules by marketplace: AWS in concurrent-agreements mode (Seller Guide "Amazon
// EventBridge events", 2026).
var rules = map[marketplace.ID]Rules{
	marketplace.AWS: {
		EndsBy:    []marketplace.EventKind{marketplace.Ending, marketplace.Ended},
		NeverEnds: []string{"RENEWED", "REPLACED"},
	},
}

func rulesOf(id marketplace.ID) Rules { return rules[id] }

// meaning is the kind an event counts as under these rules.
func (r Rules) meaning(e marketplace.Event) marketplace.EventKind {
	switch {
	case slices.Contains(r.EntitledBy, e.Kind):
		return marketplace.Entitled
	case e.Kind == marketplace.Ending, e.Kind == marketplace.Ended, e.Kind == marketplace.AccountDeleted:
		if slices.Contains(r.NeverEnds, e.Reason) {
			return marketplace.Renewed
		}
		if !slices.Contains(r.EndsBy, e.Kind) {
			return marketplace.Noted
		}
	}
	return e.Kind
}
