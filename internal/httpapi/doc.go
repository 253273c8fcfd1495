// Package httpapi is the front door: every route (routes.go), the one error edge
// (errors.go), guards, bounds and time-outs, and handlers that decode, call one
// service method and encode.
//
//	marketplace ─► POST /aws/events, /aws/register ─► intake
//	buyer       ─► /claim, /verify, /purchases     ─► subscription's claims, provisioning
//	product     ─► POST /v1/usage                  ─► billing
//	operator    ─► /v1 (openapi.yaml), /operator   ─► all of them
//
// It leaves every decision to the rooms behind it and every word on a page to
// console. Whatever comes in is bounded in size and time before it is read; a
// body is verified before it is parsed, on the raw bytes.
//
// The invariant that costs money: a 2xx leaves after the commit, never before,
// and no trouble of ours is answered with a 4xx that would stop the sender from
// sending again.
package httpapi

//go:generate go tool -modfile=../../tools.mod oapi-codegen --config oapi-codegen.yaml openapi.yaml
