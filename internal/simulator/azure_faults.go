package simulator

import "slices"

// Kinds that only the Microsoft marketplace knows. Of the shared ones it has repeat, reorder, delay, drop (webhooks),
// throttle, 5xx (metering), accept_then_close (metering, activation, acknowledgement), token_fault (Resolve) and
// read_fault (every other call).
const (
	KindItemError       Kind = "item_error"       // a usage event is answered Error inside a 200, nothing recorded
	KindSlotTaken       Kind = "slot_taken"       // another emitter has written a part into the slot: 409 with another quantity
	KindSlotTakenMore   Kind = "slot_taken_more"  // the same with more than is sent; only when forced
	KindInactiveMissing Kind = "inactive_missing" // ResourceNotActive is answered as ResourceNotFound, as captured
	KindOldBody         Kind = "old_body"         // a webhook in one of the short or older forms
	KindAckLate         Kind = "ack_late"         // ten seconds are over before the acknowledgement comes: 409
	KindKeyRollover     Kind = "key_rollover"     // the directory signs with a key nobody has fetched yet, once a run
	KindForgedWebhook   Kind = "forged_webhook"   // before the true webhook comes one that the directory did not sign
	KindActivationFails Kind = "activation_fails" // Activate was answered 200 and ends in Unsubscribe; only when forced
	KindTokenRevoked    Kind = "token_revoked"    // the access token shown is refused from now on; only when forced
)

// azureFates are the kinds that befall the first webhook of one subscription in four, and ack_late its first change; kinds
// of one slot meet on the same.
var azureFates = map[Kind]int{
	KindDrop: 0, KindDelay: 1, KindReorder: 2, KindRepeat: 3, KindOldBody: 1, KindForgedWebhook: 2, KindKeyRollover: 3, KindAckLate: 2,
}

func (m *azureMarket) fated(kind Kind, op *azureOperation) bool {
	slot, ok := azureFates[kind]
	first := op.first
	if kind == KindAckLate {
		first = op == op.sub.operations[slices.IndexFunc(op.sub.operations, (*azureOperation).change)]
	}
	return ok && first && m.s.faults.fated(kind, slot, op.sub.n)
}

// met decides kind for what is done about op, and counts it.
func (m *azureMarket) met(kind Kind, op *azureOperation, subject string) bool {
	if m.fated(kind, op) {
		m.s.faults.met[kind]++
		return true
	}
	return m.s.faults.happens(kind, subject, 1)
}
