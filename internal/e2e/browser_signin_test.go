package e2e

import (
	"testing"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// cannotSignIn is a buyer whose browser Microsoft does not know at first: each page
// says who must act, and nothing is lost on the way.
func cannotSignIn(t *testing.T, b *browser) {
	s := mall(t, simulator.Options{Seed: 6, Weather: simulator.WeatherGood})
	bought, err := s.sim.Buy(t.Context(), simulator.Purchase{Marketplace: simulator.Azure, Email: "ana@company.example", Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	way, counter := s.counter(bought.ID)
	p := b.person(t)
	p.goTo(counter)
	p.press("Set up your account")
	claim := s.url + p.path()
	p.press("Sign in with Microsoft")
	p.sees("You did not sign in", "Sign in with Microsoft", "Send me the link")
	p.check("sign-in-declined")
	p.goTo(claim + "?sign-in=consent")
	p.sees("administrator must agree first")
	p.check("sign-in-consent")
	p.goTo(claim + "?sign-in=address")
	p.sees("Your account has no e-mail address")
	p.check("sign-in-address")
	p.allow("Failed to load resource") // pages that tell of an error are errors
	p.goTo(s.url + "/azure/signed-in?code=c&state=of-another-browser")
	p.sees("We have lost the thread", "Configure account")
	p.check("sign-in-lost")
	p.goTo(s.url + "/verify/of-another-mail")
	p.sees("We do not know this link")
	if p.has("button") {
		t.Error("a dead link has a button")
	}
	p.check("mail-link-dead")

	p.signInAt(way)
	p.goTo(claim + "?sign-in=late")
	p.press("Sign in with Microsoft")
	p.sees("Who must act")
	p.goTo(claim)
	p.sees("You have confirmed", "sign in again")
	p.check("sign-in-again")
}

// comesAgain is a buyer whom Google knows: the second visit needs no mail.
func comesAgain(t *testing.T, b *browser) {
	s := mall(t, simulator.Options{Seed: 7, Weather: simulator.WeatherGood})
	bought, err := s.sim.Buy(t.Context(), simulator.Purchase{Marketplace: simulator.GCP, Email: "ana@company.example", Habits: &simulator.Habits{Absent: true}})
	if err != nil {
		t.Fatal(err)
	}
	_, counter := s.counter(bought.ID)
	p := b.person(t)
	p.goTo(counter)
	p.press("Set up your account")
	s.claim(p, "gcp-again", bought.Email)
	_, counter = s.counter(bought.ID)
	p = b.person(t) // on another machine
	p.goTo(counter)
	p.press("Set up your account")
	p.sees("This purchase is set up already", "Continue as a…@company.example")
	p.check("claim-gcp-known")
	p.press("Continue as a…@company.example")
	p.sees("Who must act")
}
