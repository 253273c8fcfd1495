# One entry point per need, the same for people and CI. "make" prints this list.

# Tools have requirements of their own (tools.mod) and are built on first use.
# With the binaries in PATH, "make check TOOL=" uses those.
TOOL ?= go tool -modfile=tools.mod

.DEFAULT_GOAL := help
.PHONY: help demo demo-replicas run test e2e screens heavy crash bench check lint vet imports generate generate-check terraform-check migrate

help: ## print this list
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## the whole story on this machine: marketplaces, buyers, bills; stays up
	go run ./cmd/demo

demo-replicas: ## the story on SQLite and by two replicas on PostgreSQL and Redis, which is lost half-way: the same units
	.ci/demo-replicas

run: ## the server with the settings of the environment (api config shows them)
	go run ./cmd/api serve

test: ## every test on both engines with the race detector; installs and starts what it needs
	./test.sh

e2e: ## only the stories through the real app and the simulator
	./test.sh ./internal/e2e/...

# Bounded: the suites whose outcome depends on chance, again, and the demo over a
# few seeds. Its JSON is kept in bin for whoever reads a failure.
heavy: ## what CI runs beyond the tests: chance again and again, killed apps, equal bills
	go test -count=3 -shuffle=on -timeout=10m ./internal/simulator ./internal/due
	go build -o bin/demo ./cmd/demo
	for seed in $(or $(SEEDS),1); do $(call play,-seed $$seed); done
	$(call play,-seed 4 -kill 50)
	$(call play,-seed 5 -gcp-dedup off)
	$(MAKE) --no-print-directory demo-replicas

play = echo "demo $(1)"; timeout 240 bin/demo -once -json $(1) >bin/demo.json 2>bin/demo.log || { tail -n 40 bin/demo.log; cat bin/demo.json; exit 1; }

# Every point in the app at which something becomes durable, on each marketplace,
# twenty deaths each; POINTS=5 takes five of them for each, POSTGRES a database URL.
crash: ## kill the app at every point where something becomes durable; SEEDS, POINTS, KILLS, POSTGRES
	go build -tags crash -o bin/demo-crash ./cmd/demo
	for seed in $(or $(SEEDS),1); do bin/demo-crash -crash $(or $(POINTS),-1) -kill $(or $(KILLS),20) $(if $(POSTGRES),-database-url $(POSTGRES)) -seed $$seed || exit 1; done

# The stories themselves leave the pictures, so that each is a page that was judged.
screens: ## pictures of the main pages, light and dark, wide and narrow, into docs/screens
	@rm -rf docs/screens && mkdir -p docs/screens
	TAILMARKET_SCREENS=$(CURDIR)/docs/screens TAILMARKET_TEST_REQUIRE=1 go test -count=1 -run TestBrowser ./internal/e2e

bench: ## every benchmark, about a second each
	go test -run '^$$' -bench . -benchmem -timeout=10m ./...

check: imports vet lint generate-check terraform-check ## import table, vet, format and lint, generated files, Terraform; changes no source by hand

imports: ## the import table; a refusal says what to do instead
	go test ./internal/app/imports_test.go

vet: ## go vet, with the points of crash too
	go vet ./...
	go vet -tags crash ./internal/app

lint: ## golangci-lint with the rules, and the reasons, of .golangci.yaml
	$(TOOL) golangci-lint run ./...

generate: ## write the generated files again
	$(TOOL) sqlc generate
	go generate ./internal/console ./internal/httpapi

# Compares before and after, so that it also holds in a tree with other changes.
generate-check: ## fail when a generated file is not what its source says
	@mkdir -p bin
	@$(generated) >bin/generated.before
	@$(MAKE) --no-print-directory generate
	@$(generated) >bin/generated.after
	@diff bin/generated.before bin/generated.after || \
	  { echo "these were not what their sources say; they are now: commit them"; exit 1; }

generated = grep -rlE --include='*.go' '^// Code generated (by|with) .*(sqlc|templ|oapi-codegen)' internal | LC_ALL=C sort | xargs sha256sum

terraform-check: ## Terraform's files: format, every argument and reference; says by which means
	terraform/check.sh

migrate: ## bring the database's schema to the newest version
	go run ./cmd/api migrate
