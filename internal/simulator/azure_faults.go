package simulator

// Kinds that only the Microsoft marketplace knows. Of the shared ones it has repeat, reorder, delay, drop (webhooks),
// throttle, 5xx, accept_then_close (metering, acknowledgements), token_fault (Resolve), read_fault and empty_page.
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
