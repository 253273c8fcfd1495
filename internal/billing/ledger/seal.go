package ledger

// Scale is one whole unit in a meter's smallest unit: 10 to the power of its
// decimal places. One where the marketplace takes fractions.
type Scale int64

// Whole is the largest whole number of units not above q; below zero too, so
// that what is left over is never negative.
func (s Scale) Whole(q int64) int64 {
	if s <= 1 {
		return q
	}
	rest := q % int64(s)
	if rest < 0 {
		rest += int64(s)
	}
	return q - rest
}

// Position is one meter of one subscription in one counting period, up to the
// hour that is being sealed.
type Position struct {
	Net      int64 // measured − corrected, of usage up to the hour
	Included int64 // what the plan includes in the period
	Placed   int64 // accepted at the accepted quantity + frozen and not freed + written off
}

// Sealed is what the position comes to. Net + CreditLeft = Included + Carried +
// Placed + Post, whatever the input.
type Sealed struct {
	Included   int64 // consumed of what is included
	Post       int64 // goes into this hour's record
	Carried    int64 // a fraction that waits for the next hour
	CreditLeft int64 // placed more than is billable now
}

// Seal is the seal formula: post = whole(billable) − placed, per subscription,
// meter and period. It depends on totals and not on how they came about, so late
// usage, corrections, freed records and missed hours need no case of their own.
func Seal(p Position, s Scale) Sealed {
	out := Sealed{Included: min(max(p.Net, 0), max(p.Included, 0))}
	billable := p.Net - out.Included
	whole := s.Whole(billable)
	out.Carried = billable - whole
	if out.Post = whole - p.Placed; out.Post < 0 {
		out.Post, out.CreditLeft = 0, -out.Post
	}
	return out
}

// Settle returns the moves that bring the period's balances to out. now are the
// balances of the period with everything up to the hour still in Open; hold is
// where the post waits (Queued). The moves go through Open, so that each of them
// is legal by itself.
func Settle(now Balances, out Sealed, mint func(from, to Place, q int64) Entry) []Entry {
	var entries []Entry
	move := func(from, to Place, q int64) {
		if q > 0 {
			entries = append(entries, mint(from, to, q))
		}
	}
	// First back into Open what is too much, then out of it what is missing.
	move(Included, Open, now[Included]-out.Included)
	move(Carried, Open, now[Carried]-out.Carried)
	move(CreditLeft, Open, out.CreditLeft-now[CreditLeft])
	move(Open, CreditLeft, now[CreditLeft]-out.CreditLeft)
	move(Open, Included, out.Included-now[Included])
	move(Open, Carried, out.Carried-now[Carried])
	move(Open, Queued, out.Post)
	return entries
}

// Finish leaves nothing open when no record can follow any more. What is billable
// and in no record is written off; what is billed and no longer billable is
// credit; and a correction takes back write-offs before it makes credit. net is
// everything that was used in the period, included what of it is free.
func Finish(now Balances, net, included int64, why Reason, mint func(from, to Place, q int64, why Reason) Entry) []Entry {
	billed := now.Placed() - now[WrittenOff]
	left := net - min(max(net, 0), max(included, 0)) - billed
	out := Sealed{Included: min(max(net, 0), max(included, 0)), CreditLeft: max(-left, 0)}
	var entries []Entry
	if back := now[WrittenOff] - max(left, 0); back > 0 {
		entries = append(entries, mint(WrittenOff, Open, back, TakenBack))
	}
	entries = append(entries, Settle(now, out, func(from, to Place, q int64) Entry { return mint(from, to, q, NoReason) })...)
	if off := max(left, 0) - now[WrittenOff]; off > 0 {
		entries = append(entries, mint(Open, WrittenOff, off, why))
	}
	return entries
}
