# One entry point per need, the same for people and CI. "make" prints this list.
TOOL := go tool -modfile=tools.mod

.DEFAULT_GOAL := help
.PHONY: help test check lint generate generate-check heavy migrate

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

test: ## run every test on both engines; installs and starts what it needs
	./test.sh

check: lint generate-check ## format, vet, lint, import table, generated files
	go vet ./...
	go test ./internal/app -run TestImport

lint: ## golangci-lint with the rules of .golangci.yaml
	$(TOOL) golangci-lint run ./...

generate: ## write the generated files again
	$(TOOL) sqlc generate

generate-check: generate ## fail when a generated file is not what its source says
	git diff --exit-code -- internal/store/db

heavy: ## the bounded heavy suites CI also runs
	go test -count=3 -shuffle=on -timeout=10m ./internal/simulator ./internal/due

migrate: ## bring the database's schema to the newest version
	go run ./cmd/api migrate
