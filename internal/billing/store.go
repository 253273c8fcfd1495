package billing

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/clock"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/marketplace"
)

// Ident is the identity of a usage event: a hash over source and id.
type Ident [32]byte

// Usage is one stored usage event.
type Usage struct {
	ID           id.UsageEvent
	Ident        Ident
	Source       string
	SourceID     string
	Subscription id.Subscription
	Meter        string
	Period       string
	Plan         string // in force when it was used
	Hour         clock.Hour
	UsedAt       time.Time
	ReceivedAt   time.Time
	Quantity     int64
	Of           string
	Seconds      int64
	Corrects     id.UsageEvent // the event it replaces
	Superseded   bool
}

// Bucket is what the ledger keeps apart of a meter of a subscription: the counting
// period in which units were used, and the plan under which.
type Bucket struct{ Period, Plan string }

// HourUse is what usage of one hour under one plan added to a counting period.
type HourUse struct {
	Subscription id.Subscription
	Meter        string
	Period       string
	Plan         string
	Hour         clock.Hour
	Since        time.Time // when the plan began inside the hour, or the hour
	Measured     int64
	Corrected    int64
	Allowance    int64
	PerHour      bool
}

// Record is a frozen record with where it stands.
type Record struct {
	ID           id.Record
	Slot         string
	Subscription id.Subscription
	Lineage      id.Subscription
	Marketplace  marketplace.ID
	Product      string
	Meter        string
	Dimension    string
	Hour         clock.Hour
	Part         int
	From, To     time.Time
	Quantity     int64 // frozen, in the meter's smallest unit
	Scale        int
	Frozen       []byte // JSON of all that is sent and of the terms it stands on
	Hash         []byte // over Frozen
	Final        bool
	State        ledger.RecordState
	Reason       ledger.Reason
	Parked       bool  // unsure, and sending it again would not help
	Placed       int64 // what it stands for now
	Deadline     time.Time
	FrozenAt     time.Time
	SettledAt    time.Time
	Allocations  []Allocation
	Attempts     []Attempt
}

// Allocation is the share of a record that belongs to one bucket.
type Allocation struct {
	Period   string
	Plan     string
	Quantity int64
	Placed   int64
}

// Attempt is one call made for a record, or an operator's word about it.
type Attempt struct {
	ID         id.Attempt
	Record     id.Record
	N          int
	Call       string    // attempts of one call share it
	BegunAt    time.Time // business time
	WallAt     time.Time // wall time, for vendors that remember a record for so long only
	Answer     ledger.Answer
	Quantity   int64
	Says       bool
	Receipt    string // the vendor's id of the stored record
	Detail     string // the vendor's word
	AnsweredAt time.Time
}

// Finding is a difference or obligation that somebody must look at.
type Finding struct {
	ID           id.Finding
	Class        FindingClass
	Cause        string // what it is about; the same cause is found once
	Subscription id.Subscription
	Meter        string
	Record       id.Record
	Quantity     string // worth, as decimal text in the meter's unit; "" when not known
	Owner        string
	Detail       string
	OpenedAt     time.Time
	ClosedAt     time.Time
	ClosedBy     string
	ClosedWhy    string
}

// FindingClass is the kind of a finding.
type FindingClass string

const (
	FindUnexplainedDuplicate FindingClass = "unexplained_duplicate" // the slot holds a record that no attempt of ours explains
	FindUnsureTooLate        FindingClass = "unsure_past_window"    // nobody can ask the vendor any more
	FindUnsureNotRepeated    FindingClass = "unsure_not_repeated"   // the vendor might take the same record for a second one
	FindRuledUnrecorded      FindingClass = "ruled_unrecorded"      // billed again because a person said that the vendor has nothing
	FindOtherQuantity        FindingClass = "other_quantity"        // the vendor holds another quantity
	FindContradiction        FindingClass = "contradiction"         // an answer came that cannot be true with what is settled
	FindHeld                 FindingClass = "held"                  // refused for a reason that somebody can mend
	FindWrittenOff           FindingClass = "written_off"
	FindCreditLeft           FindingClass = "credit_left" // billed above what was used, and no usage will consume it
	FindMissingIdentity      FindingClass = "missing_identity"
	FindCoverageGap          FindingClass = "coverage_gap" // a stretch that no collector saw; nothing was filled in
	FindForeignReceipt       FindingClass = "foreign_receipt"
	FindBrokenFreeze         FindingClass = "broken_freeze" // a record is not what was frozen
)

// Quarantined is a usage event that is kept and not counted, until somebody
// mends the cause and replays it.
type Quarantined struct {
	Ident      Ident
	Reason     QuarantineReason
	Target     Ident // the event a correction waits for; zero otherwise
	Event      UsageEvent
	ReceivedAt time.Time
}

// Balance is what one place holds, as stored and as the entries add up to.
type Balance struct {
	Subscription id.Subscription
	Meter        string
	Period       string
	Plan         string
	Place        ledger.Place
	Quantity     int64
}

// Snapshot reads one moment of the whole ledger.
type Snapshot interface {
	BillingAccount(ctx context.Context, sub id.Subscription) (Account, bool, error)
	BillingAccounts(ctx context.Context) ([]Account, error)
	AllBalances(ctx context.Context) ([]Balance, error)
	// EntrySums adds up the entries as balances: what AllBalances must be.
	EntrySums(ctx context.Context) ([]Balance, error)
	// RecordPage lists records after an id, oldest first, with allocations and attempts.
	RecordPage(ctx context.Context, after id.Record, limit int) ([]Record, error)
	// UsagePeriods are the meters and periods in which the subscription has usage events.
	UsagePeriods(ctx context.Context, sub id.Subscription) ([]Balance, error)
	// TotalUsage is the meter function over all live events of the subscriptions.
	TotalUsage(ctx context.Context, kind ledger.Kind, subs []id.Subscription, meter, period string) (int64, error)
}

// Tx is what billing does inside a transaction.
type Tx interface {
	Mark(ctx context.Context, kind, subject string, at time.Time) error

	// Terms are the subscription's terms at an instant; a fault of class NotFound when there is no such subscription.
	Terms(ctx context.Context, sub id.Subscription, at time.Time) (Terms, error)
	// FindSubject turns a sub_ or tnt_ id into the subscription whose usage it was at an instant, "" when there is none.
	FindSubject(ctx context.Context, subject string, at time.Time) (id.Subscription, error)

	Snapshot
	// SaveBillingAccount makes an account, or moves it to another lineage.
	SaveBillingAccount(ctx context.Context, a Account) error
	// CoverUsage moves the coverage from was to an instant; false when it is not at was any more.
	CoverUsage(ctx context.Context, sub id.Subscription, was, to time.Time) (bool, error)
	// FinishBilling notes the final seal; false when it was made before.
	FinishBilling(ctx context.Context, sub id.Subscription, at time.Time) (bool, error)
	LineageMembers(ctx context.Context, lineage id.Subscription) ([]id.Subscription, error)
	// LockBilling locks a scope until the transaction ends; it makes it if there is none.
	LockBilling(ctx context.Context, sc Scope) error
	// SealedTo is the first hour that is not sealed; false before the first seal.
	SealedTo(ctx context.Context, sub id.Subscription, meter string) (clock.Hour, bool, error)
	SaveSealedTo(ctx context.Context, sub id.Subscription, meter string, h clock.Hour) error

	// UsageIdentity finds what was said under an identity; event is "" while it is in quarantine.
	UsageIdentity(ctx context.Context, ident Ident) (content [32]byte, event id.UsageEvent, known bool, err error)
	// ClaimUsage stores an identity; false when somebody else has it.
	ClaimUsage(ctx context.Context, ident Ident, content [32]byte, event id.UsageEvent) (bool, error)
	SettleUsage(ctx context.Context, ident Ident, event id.UsageEvent) error
	// UsageOperation finds the event that counted an operation, and what was said of it.
	UsageOperation(ctx context.Context, key Ident) (said [32]byte, event id.UsageEvent, known bool, err error)
	// ClaimOperation stores an operation's key; false when somebody else has it.
	ClaimOperation(ctx context.Context, key Ident, said [32]byte, event id.UsageEvent) (bool, error)

	// LockCall finds a call by its key, or keeps c as new, and locks it until the
	// transaction ends. What expired before wall is forgotten first.
	LockCall(ctx context.Context, c Call, lease string, until, expires, wall time.Time) (KeptCall, error)
	// LeaseCall extends a lease or passes it on; false when it is not was any more, or was answered.
	LeaseCall(ctx context.Context, c Call, was, lease string, until time.Time) (bool, error)
	// AnswerCall stores the outcomes of a call under its lease; false when somebody else has it.
	AnswerCall(ctx context.Context, c Call, lease string, out []Outcome) (bool, error)
	AddUsage(ctx context.Context, u Usage) error
	// UsageByIdent finds the event that an identity stands for: its own, or the one that counted its operation.
	UsageByIdent(ctx context.Context, ident Ident) (Usage, bool, error)
	// SupersedeUsage takes a live event out of the count; false when it was not live.
	SupersedeUsage(ctx context.Context, event id.UsageEvent) (bool, error)
	// CountUsage counts live events; Unique only says whether of was counted.
	CountUsage(ctx context.Context, kind ledger.Kind, sub id.Subscription, meter, period, of string) (ledger.Count, error)

	QuarantineUsage(ctx context.Context, q Quarantined) error
	QuarantinedUsage(ctx context.Context, ident Ident) (Quarantined, bool, error)
	WaitingCorrections(ctx context.Context, target Ident) ([]Quarantined, error)
	ReleaseUsage(ctx context.Context, ident Ident) error

	// Post appends entries and adds them to the balances.
	Post(ctx context.Context, entries []ledger.Entry) error
	AddHourUse(ctx context.Context, u HourUse) error
	// SetAllowance replaces what the terms of an hour include, where the hour has usage.
	SetAllowance(ctx context.Context, u HourUse) error
	// LineageUses are the uses of a period before an hour (all when zero), in the order of use.
	LineageUses(ctx context.Context, lineage id.Subscription, meter, period string, before clock.Hour) ([]ledger.Use, error)
	Balances(ctx context.Context, sub id.Subscription, meter string, b Bucket) (ledger.Balances, error)
	// OpenBuckets are the buckets that have something open, or all of them, by period and plan.
	OpenBuckets(ctx context.Context, sub id.Subscription, meter string, all bool) ([]Bucket, error)

	SlotFree(ctx context.Context, m marketplace.ID, slot string, sub id.Subscription, dimension string, h clock.Hour, part int) (bool, error)
	FreezeRecord(ctx context.Context, r Record) error
	GetRecord(ctx context.Context, rec id.Record) (Record, error)
	// SaveRecord stores state, reason, parked, placed, settled and what the allocations stand for.
	SaveRecord(ctx context.Context, r Record) error
	// HastenRecords moves the deadline of unsettled records forward, never back.
	HastenRecords(ctx context.Context, sub id.Subscription, deadline time.Time) error
	RecordsInState(ctx context.Context, sub id.Subscription, state ledger.RecordState) ([]id.Record, error)
	Unsettled(ctx context.Context, sub id.Subscription) (int, error)
	AddAttempt(ctx context.Context, a Attempt) error
	// AnswerAttempt stores the answer of an attempt that has none; false when it has one.
	AnswerAttempt(ctx context.Context, a Attempt) (bool, error)

	// RaiseFinding stores a finding unless its class and cause are known.
	RaiseFinding(ctx context.Context, f Finding) error
	CloseFinding(ctx context.Context, f id.Finding, by, why string, at time.Time) (bool, error)
	// CloseDoubts closes what was found because a record is held or unsure.
	CloseDoubts(ctx context.Context, rec id.Record, by, why string, at time.Time) error
}

// Store is what billing asks of the database.
type Store interface {
	BillingTx(ctx context.Context, fn func(context.Context, Tx) error) error
	// BillingSnapshot reads one moment, without holding up writers.
	BillingSnapshot(ctx context.Context, fn func(context.Context, Snapshot) error) error

	// Sendable lists records that may be sent, nearest deadline first.
	Sendable(ctx context.Context, m marketplace.ID, limit int) ([]Record, error)
	// SentRecords lists records of calls that have not answered.
	SentRecords(ctx context.Context, m marketplace.ID, limit int) ([]id.Record, error)
	// StaleUnsure lists unsure records that are not parked and whose deadline has passed.
	StaleUnsure(ctx context.Context, m marketplace.ID, now time.Time, limit int) ([]id.Record, error)

	// DoubtfulRecords lists records that are held or unsure after an id, with allocations and attempts; sub "" is all.
	DoubtfulRecords(ctx context.Context, sub id.Subscription, after id.Record, limit int) ([]Record, error)
	ListRecords(ctx context.Context, sub id.Subscription, limit int) ([]Record, error)
	ListEntries(ctx context.Context, sub id.Subscription, meter string, h clock.Hour) ([]ledger.Entry, error)
	ListHours(ctx context.Context, sub id.Subscription, limit int) ([]HourUse, error)
	ListFindings(ctx context.Context, open bool, limit int) ([]Finding, error)
	ListQuarantined(ctx context.Context, limit int) ([]Quarantined, error)

	StationAges(ctx context.Context) (map[Station]StationAge, error)
}

// StationAge is what waits at a station, by business time.
type StationAge struct {
	Waiting int
	Oldest  time.Time // zero when nothing waits
}
