package simulator

import (
	"strconv"
	"time"
)

// Actions of webhooks and operations (azure.md 3.3, 4.1).
const (
	actionSubscribe      = "Subscribe"
	actionChangePlan     = "ChangePlan"
	actionChangeQuantity = "ChangeQuantity"
	actionRenew          = "Renew"
	actionSuspend        = "Suspend"
	actionReinstate      = "Reinstate"
	actionUnsubscribe    = "Unsubscribe"
)

// Statuses of an operation.
const (
	opInProgress = "InProgress"
	opSucceeded  = "Succeeded"
	opFailed     = "Failed"
	opConflict   = "Conflict"
)

// Who started an operation.
const (
	sourceAzure   = "Azure"
	sourcePartner = "Partner"
)

// azureSilence is how long the marketplace waits for an acknowledgement; silence is consent.
const azureSilence = 10 * time.Second

// azureOperation is one thing that happened or is asked for.
type azureOperation struct {
	sub            *saas
	id, activity   string
	action, source string
	status         string
	plan           *AzurePlan
	seats          int64
	at             time.Time
	first          bool // of its subscription to be told: see fated
	heard          bool // the webhook was answered 2xx, ten seconds run
	message        string
}

// change says whether the publisher is asked.
func (op *azureOperation) change() bool {
	return op.action == actionChangePlan || op.action == actionChangeQuantity
}

// shown says whether the operations API knows it: not for what is told only (azure.md 4.4, ACC #306 and #311).
func (op *azureOperation) shown() bool {
	return op.action != actionSuspend && op.action != actionRenew
}

// operate records an operation of sub, with the plan and quantity of now.
func (m *azureMarket) operate(sub *saas, action, source, status string) *azureOperation {
	nth := strconv.Itoa(len(sub.operations))
	op := &azureOperation{
		sub: sub, id: m.s.faults.uuid("operation", sub.id, nth), activity: m.s.faults.uuid("activity", sub.id, nth),
		action: action, source: source, status: status, plan: sub.plan, seats: sub.seats, at: m.s.now,
	}
	sub.operations = append(sub.operations, op)
	return op
}

// pending is the operation that locks sub.
func (sub *saas) pending() *azureOperation {
	for _, op := range sub.operations {
		if op.status == opInProgress {
			return op
		}
	}
	return nil
}

func (sub *saas) operation(id string) *azureOperation {
	for _, op := range sub.operations {
		if op.id == id && op.shown() {
			return op
		}
	}
	return nil
}

// answered takes the webhook's answer for an operation that asks: 2xx starts the ten seconds, 4xx refuses. The first
// answer counts; refused is also what 500 unanswered tries come to.
func (m *azureMarket) answered(op *azureOperation, taken bool) {
	if !op.change() || op.status != opInProgress || op.heard {
		return
	}
	if op.heard = true; !taken {
		m.settle(op, opFailed)
		return
	}
	m.s.schedule(m.s.now.Add(azureSilence), "operation of "+op.sub.id, func() {
		if op.status == opInProgress {
			m.settle(op, opSucceeded)
		}
	})
}

// settle ends an operation that asks. What it asked for holds from now.
func (m *azureMarket) settle(op *azureOperation, status string) {
	sub := op.sub
	if status == opSucceeded {
		same := op.plan == sub.plan
		if op.action == actionChangeQuantity {
			same = op.seats == sub.seats
		}
		if same {
			status = opConflict
		}
	}
	op.status = status
	switch {
	case status == opFailed:
		op.message = "The publisher did not accept the change."
		return
	case status != opSucceeded:
		return
	case op.action == actionChangePlan:
		sub.plan = op.plan
		sub.plans = append(sub.plans, azurePlanSpan{op.plan, m.s.now})
	default:
		sub.seats = op.seats
	}
	sub.modified = m.s.now
}
