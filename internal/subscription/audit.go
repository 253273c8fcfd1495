package subscription

import (
	"crypto/sha256"
	"fmt"
)

// AuditHash chains a line of the audit trail to the one before: no line can be
// changed, taken out or put in without changing every hash after it.
func AuditHash(before []byte, e AuditEntry) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x\n%d\n%d\n%q\n%q\n%q\n%q", before, e.Seq, e.At.UnixMicro(), e.Actor, e.Action, e.Subject, e.Detail))
	return sum[:]
}

// CheckAudit reports the first line whose hash does not follow from the one
// before; before is the hash in front of entries, empty at the start.
func CheckAudit(before []byte, entries []AuditEntry) error {
	for i, e := range entries {
		if want := AuditHash(before, e); string(want) != string(e.Hash) || i > 0 && e.Seq != entries[i-1].Seq+1 {
			return fmt.Errorf("the audit trail is broken at line %d", e.Seq)
		}
		before = e.Hash
	}
	return nil
}
