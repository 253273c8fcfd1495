package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailmarket/tailmarket/internal/billing"
	"github.com/tailmarket/tailmarket/internal/billing/ledger"
	"github.com/tailmarket/tailmarket/internal/fault"
	"github.com/tailmarket/tailmarket/internal/id"
)

func inDoubt(name string, change func(*billing.Doubt)) billing.Doubt {
	d := billing.Doubt{
		RecordView: billing.RecordView{
			ID: id.Record("rec_" + name), Meter: "api_request", Hour: now.Add(-2 * time.Hour).Truncate(time.Hour), Slot: "slot-" + name, Quantity: "1500", State: ledger.RecordUnsure,
			Deadline: now.Add(20 * time.Hour), Attempts: []billing.AttemptView{{N: 1, Call: "c", Answer: ledger.CallUnsure}},
		},
		Subscription: sub, Marketplace: "aws", Words: []ledger.Answer{ledger.RuledThere, ledger.RuledGone},
	}
	change(&d)
	return d
}

func held(d *billing.Doubt) {
	d.State, d.Reason, d.Words = ledger.RecordHeld, ledger.InvalidRecord, []ledger.Answer{ledger.Released}
	d.Attempts[0].Answer, d.Attempts[0].Detail = ledger.InvalidHere, "no such dimension"
}

// Every record that waits says why, what it is worth, who must act, and what each word risks.
func TestTheUnitsPageShowsWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.doubts = []billing.Doubt{
		inDoubt("a", held),
		inDoubt("b", func(d *billing.Doubt) {
			d.State, d.Reason, d.Words = ledger.RecordHeld, ledger.SuspendedHold, []ledger.Answer{ledger.Released}
		}),
		inDoubt("c", func(d *billing.Doubt) { d.Words = nil }),
		inDoubt("d", func(d *billing.Doubt) { d.Late = true }),
		inDoubt("e", func(d *billing.Doubt) { d.Foreign = true }),
		inDoubt("f", func(d *billing.Doubt) { d.Forgets = true }),
	}
	r := w.operator(t).get("/operator/units")
	says(t, r, "1,500 api_request", "“no such dimension”")
	for name, texts := range map[string][]string{
		"a": {"you", "Release this record", "nothing is billed twice", "slot-a"},
		"b": {"the buyer", "Release this record", "suspended"},
		"c": {"goes on by itself", "sent again until the marketplace answers"},
		"d": {"takes nothing for this hour any more", "Count it as billed", "nobody pays", "Free the units", "the buyer pays twice"},
		"e": {"none of our calls explains it", "Send it again", "nothing is billed twice"},
		"f": {"might bill the same record a second time", "the buyer pays twice"},
	} {
		_, part, _ := strings.Cut(r.body, `aria-labelledby="rec_`+name+`"`)
		part, _, _ = strings.Cut(part, "</article>")
		for _, text := range texts {
			if !strings.Contains(part, text) {
				t.Errorf("%s does not say %q:\n%s", name, text, part)
			}
		}
		if risky := strings.Contains(part, "the buyer pays twice"); risky != (name == "d" || name == "f") {
			t.Errorf("%s: risky %v", name, risky)
		}
		if forms := strings.Count(part, "<form"); forms != len(w.doubts[name[0]-'a'].Words) {
			t.Errorf("%s has %d forms", name, forms)
		}
	}
	w.findings = []billing.Finding{{ID: "fnd_1", Class: billing.FindUnsureTooLate, Subscription: sub, Record: "rec_d", OpenedAt: now}}
	says(t, w.operator(t).get("/operator/findings"), `href="/operator/units?subscription=`+sub+`#rec_d"`)
}

func TestAnOperatorRules(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.doubts = []billing.Doubt{inDoubt("a", func(d *billing.Doubt) { d.Late = true })}
	b := w.operator(t)
	form := url.Values{"word": {"ruled_accepted"}, "quantity": {" 1500 "}, "why": {" it is there "}, "evidence": {"invoice 7, line 3"}, "seen": {"1"}, "only": {sub}}
	const path = "/operator/records/rec_a/ruling"
	if r := b.post(path, form, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); r.StatusCode != http.StatusForbidden {
		t.Errorf("another site rules: %d", r.StatusCode)
	}
	for who, other := range map[string]*browser{"nobody": w.browser(t), "a buyer": w.signedIn(t)} {
		if r := other.post(path, form); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s rules: %d", who, r.StatusCode)
		}
	}
	if len(w.ruled) != 0 {
		t.Fatalf("it was ruled: %+v", w.ruled)
	}
	r := b.post(path, form)
	says(t, r, "The record counts as accepted")
	if r.Request.URL.Query().Get("subscription") != sub {
		t.Errorf("ended at %s", r.Request.URL)
	}
	want := billing.Ruling{Word: ledger.RuledThere, Quantity: "1500", Actor: "operator", Why: "it is there", Evidence: "invoice 7, line 3", Seen: 1}
	if len(w.ruled) != 1 || w.ruled[0] != want {
		t.Errorf("ruled %+v", w.ruled)
	}

	for status, class := range map[int]fault.Class{http.StatusBadRequest: fault.Invalid, http.StatusConflict: fault.Conflict} {
		w.ruleErr = fault.New(class, "Somebody was here before.")
		r := b.post(path, form)
		if r.StatusCode != status || !strings.Contains(r.body, "Somebody was here before.") || !strings.Contains(r.body, `value="it is there"`) || strings.Count(r.body, "<details open") != 1 {
			t.Errorf("%s: %d\n%s", class, r.StatusCode, r.body)
		}
	}
	w.doubts = nil // settled meanwhile: the page says so though the record is gone from it
	if r := b.post(path, form); r.StatusCode != http.StatusConflict && r.StatusCode != http.StatusBadRequest || !strings.Contains(r.body, "Somebody was here before.") {
		t.Errorf("%d\n%s", r.StatusCode, r.body)
	}
	if r := b.post(path, url.Values{"word": {"released"}}); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a form without what was seen: %d", r.StatusCode)
	}
	if r := b.get(path); r.Request.URL.Path != "/operator/units" {
		t.Errorf("reloading ended at %s", r.Request.URL)
	}
}

func TestAProgramRules(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.doubts = []billing.Doubt{inDoubt("a", held), inDoubt("b", func(d *billing.Doubt) { d.Forgets = true })}
	var page struct {
		Items []struct {
			Subscription, Hour string
			May                []string
			Forgets            bool
			Record             struct {
				ID       string
				Quantity string
				Attempts []any
			}
		}
		Next string
	}
	r := w.call(t, http.MethodGet, "/v1/doubts?limit=1", "", "")
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || len(page.Items) != 1 || page.Next != "rec_a" || page.Items[0].Hour != "2026-11-03T05Z" || page.Items[0].May[0] != "released" || len(page.Items[0].Record.Attempts) != 1 {
		t.Fatalf("%v %s", err, r.body)
	}
	if r := w.call(t, http.MethodGet, "/v1/doubts?after=rec_a", "", ""); !strings.Contains(r.body, `"rec_b"`) || strings.Contains(r.body, `"rec_a"`) || !strings.Contains(r.body, `"forgets":true`) {
		t.Errorf("%s", r.body)
	}
	const path, body = "/v1/records/rec_a/ruling", `{"word":"released","why":"mended","evidence":"ticket 4","seen":1}`
	if r := w.call(t, http.MethodPost, path, "application/json", body); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `"rec_a"`) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if want := (billing.Ruling{Word: ledger.Released, Actor: "operator key", Why: "mended", Evidence: "ticket 4", Seen: 1}); len(w.ruled) != 1 || w.ruled[0] != want {
		t.Errorf("%+v", w.ruled)
	}
	if r := w.call(t, http.MethodPost, path, "application/json", body, "Authorization", "Bearer guess"); r.StatusCode != http.StatusUnauthorized || len(w.ruled) != 1 {
		t.Errorf("another key rules: %d", r.StatusCode)
	}
	w.ruleErr = fault.New(fault.Conflict, "Somebody was here before.")
	if r := w.call(t, http.MethodPost, path, "application/json", body); r.StatusCode != http.StatusConflict || !strings.Contains(r.body, "Somebody was here before.") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}
