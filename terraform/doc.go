// Package terraform owns what a seller sets up at each cloud so that events reach
// the server and the server may answer: modules/ has one module for each
// marketplace, with the same variables, outputs and file names, and environments/
// composes them. Its Go is the check of these files, and tests only.
//
// Where providers can be had, "terraform validate" says more (make terraform-check
// runs it). The check here needs nothing: it reads the files as HCL and holds every
// block, argument and reference against the providers' schemas, of which
// testdata/schemas has the part that is used.
//
// What a person must click in a vendor's portal is left to the modules' READMEs.
//
// The invariant that would cost money: a message that could not be handed over lies
// where it is kept, and somebody hears of it while its purchase can still be billed.
package terraform
