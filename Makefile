# Porchlight: `make` alone prints the targets.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
STAMP := -X github.com/porchlight-lb/porchlight/internal/version.Version=$(VERSION)
# The suites of `make test`. Two labs work side by side, each on its suites one
# after the other: most of a suite is waiting for a cluster. LONG are the suites of
# `make test-long`, which install Porchlight anew or wait for pods to come and go.
FIRST := allocation cli conformance
SECOND := layer2 gateway bgp
LONG := install docs fleet
SUITES := $(FIRST) $(SECOND)
SUITE ?= $(SUITES)
# The lab's name; empty: the checkout's own. One that begins with a dash is
# appended to that.
LAB ?=
export LAB
# What a checkout has built serves the next one, wherever that lies.
export GOFLAGS := $(filter-out -trimpath,$(GOFLAGS)) -trimpath

.PHONY: help
help: ## print the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

##### what is needed

.PHONY: deps
deps: ## install what is missing on this machine
	@deploy/deps.sh

tool = bin/tools/$(1): e2e/go.mod e2e/go.sum; go build -C e2e -o ../bin/tools/ $(2) && touch $$@
$(eval $(call tool,staticcheck,honnef.co/go/tools/cmd/staticcheck))
$(eval $(call tool,controller-gen,sigs.k8s.io/controller-tools/cmd/controller-gen))
$(eval $(call tool,helm,helm.sh/helm/v3/cmd/helm))
$(eval $(call tool,gotestsum,gotest.tools/gotestsum))

# The role of deploy/ansible is tested with it, by two suites that may run side by
# side: the one that comes second waits.
bin/tools/ansible/bin/ansible-playbook: deploy/ansible/requirements.txt
	@mkdir -p bin/tools
	flock bin/tools/ansible.lock sh -c 'test $@ -nt $< || { python3 -m venv bin/tools/ansible && \
	  bin/tools/ansible/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@; }'

.PHONY: tools
tools: bin/tools/staticcheck bin/tools/controller-gen bin/tools/helm bin/tools/gotestsum ## build the pinned tools into bin/tools

.PHONY: bin/lab
bin/lab:
	@go build -C e2e -o ../bin/lab ./cmd/lab

.PHONY: lab
lab: deps bin/lab ## build bin/lab and, once, what its cluster is made of
	bin/lab build

##### the loop to live in

.PHONY: build
build: ## build the porchlight command into bin/, kubectl's plugin and its completion, too
	go build -trimpath -ldflags '$(STAMP)' -o bin/porchlight ./cli
	@ln -sf porchlight bin/kubectl-porchlight && ln -sf porchlight bin/kubectl_complete-porchlight

# Counts and failures of every test run are kept here, for the closing line.
RESULTS := $(CURDIR)/dist/results
gotestsum = $(CURDIR)/bin/tools/gotestsum --format pkgname --format-hide-empty-pkg --jsonfile $(RESULTS)/$(1).json

.PHONY: check
check: export ENVOY = $(shell bin/lab envoy)
check: bin/lab tools ## format, lint, unit, property and golden tests
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted; gofmt -w:"; echo "$$bad"; exit 1; fi
	go vet -tags e2e ./...
	go vet -C e2e -tags e2e ./...
	bin/tools/staticcheck -tags e2e ./...
	cd e2e && ../bin/tools/staticcheck -tags e2e ./...
	@mkdir -p $(RESULTS)
	$(call gotestsum,check) -- ./...
	@# Not from the cache, which does not see files outside a module: these read the product's.
	cd e2e && $(call gotestsum,check-e2e) -- -count=1 ./...

.PHONY: generate
generate: tools ## make everything that derives from something else in the tree
	go run ./deploy/generate

.PHONY: verify
verify: generate ## generate, and fail on a difference
	@changed=$$(git status --porcelain -- api config deploy/chart docs/reference); if [ -n "$$changed" ]; then \
	  echo "make generate changes these; commit what it makes:"; echo "$$changed"; git --no-pager diff -- api config deploy/chart docs/reference | head -n 60; exit 1; fi

.PHONY: golden
golden: export ENVOY = $(shell bin/lab envoy)
golden: bin/lab ## rewrite the wanted outputs of the golden tests; the diff is the review
	go test ./controller/allocator ./speaker/election ./speaker/bfd ./speaker/bgp -rewrite
	go test ./gateway/ingest ./cli ./cli/internal/status ./cli/internal/migrate -update && go test ./gateway/xds -update

.PHONY: sim
sim: ## a simulation of the election up to 200 nodes, or of one SEED=; STEPS=
	go test ./speaker/election -run TestSimulation -count=1 -v -timeout 60m -args $(if $(SEED),-seed=$(SEED)) -steps=$(or $(STEPS),2000000)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (30s)
	@go list -f '{{.Dir}}' ./... | while read -r dir; do \
	  for f in $$(grep -hso 'func Fuzz[A-Za-z0-9]*' $$dir/*_test.go | cut -c6-); do \
	    echo "$$dir $$f"; go test $$dir -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30s) || exit 1; done; done

##### images and the lab

.PHONY: images
images: ## write the porchlight image as an archive to dist/
	@mkdir -p dist
	go run ./deploy/images --version '$(VERSION)' --out dist

.PHONY: lab-up
lab-up: lab images tools
	@$(MAKE) up

.PHONY: up
up:
	bin/lab up --name '$(LAB)' --nodes 3

.PHONY: e2e
e2e: lab-up ## the suites in the lab, or SUITE= one of them; the lab stays up
	@for s in $(SUITE); do $(MAKE) e2e-$$s || exit 1; done

e2e-%:
	@mkdir -p $(RESULTS)
	cd e2e && $(call gotestsum,$*) -- -tags e2e -count=1 -timeout 30m ./suites/$*

# The Gateway API's own suite, with gateways of a class; its name is that of the
# results and of the report that the suite writes.
define conformance
	@mkdir -p $(RESULTS) e2e/conformance
	go test -C e2e -c -tags e2e -o ../bin/conformance.test ./suites/conformance
	bin/lab kubectl --name '$(LAB)' -- wait --for=delete namespace -l gateway-conformance --timeout=5m # those of a run before
	KUBECONFIG=$$(bin/lab kubeconfig --name '$(LAB)') $(call gotestsum,conformance-$(1)) --hide-summary=skipped --raw-command -- \
	  go tool test2json -t -p conformance-$(1) bin/lab exec --name '$(LAB)' client -- $(CURDIR)/bin/conformance.test -test.v=test2json \
	  -gateway-class=$(2) -mode=$(1) -conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP \
	  -usable-address=172.30.0.240 -unusable-address=203.0.113.1 \
	  -organization=porchlight-lb -project=porchlight -url=https://github.com/porchlight-lb/porchlight \
	  -version='$(VERSION)' -contact=@porchlight-lb/maintainers -report-output=$(CURDIR)/e2e/conformance/$(1).yaml
endef

.PHONY: conformance
conformance: lab-up ## the Gateway API's conformance suite, with a shared fleet and with dedicated ones
	@# The first report changes the tree, and is of the same version.
	@$(MAKE) VERSION='$(VERSION)' e2e-conformance && $(MAKE) VERSION='$(VERSION)' e2e-conformance-dedicated

.PHONY: e2e-conformance
e2e-conformance:
	$(call conformance,shared,porchlight)

.PHONY: e2e-conformance-dedicated
e2e-conformance-dedicated:
	bin/lab kubectl --name '$(LAB)' -- apply -f e2e/suites/conformance/dedicated.yaml
	$(call conformance,dedicated,dedicated)

.PHONY: e2e-install
e2e-install: bin/tools/ansible/bin/ansible-playbook
	@mkdir -p $(RESULTS)
	cd e2e && $(call gotestsum,install) -- -tags e2e -count=1 -timeout 30m ./suites/install

.PHONY: e2e-docs
e2e-docs: bin/tools/ansible/bin/ansible-playbook
	@mkdir -p $(RESULTS)
	cd e2e && $(call gotestsum,docs) -- -tags e2e -count=1 -timeout 30m ./suites/docs

.PHONY: e2e-teardown
e2e-teardown: lab tools
	@$(MAKE) teardown

.PHONY: teardown
teardown:
	@mkdir -p $(RESULTS)
	cd e2e && $(call gotestsum,teardown) -- -tags e2e -count=1 -timeout 30m ./lab/teardown

# BFD against bfdd of FRR and BIRD, in network namespaces that the tests make.
.PHONY: e2e-bfd
e2e-bfd: deps tools
	@mkdir -p $(RESULTS)
	$(call gotestsum,bfd) -- -tags e2e -count=1 -timeout 10m ./speaker/internal/detector

# The labs come up beside what needs none.
.PHONY: test
test: lab tools ## check, the lab's suites, conformance; a closing line of totals
	@rm -rf $(RESULTS)
	@bin/lab down --name '$(LAB)' && bin/lab down --name '$(LAB)-2'
	@$(MAKE) lanes ALONE='source teardown e2e-bfd'

.PHONY: test-long
test-long: lab tools ## what test leaves out: installing, upgrading and rolling, the guides
	@$(MAKE) lanes FIRST='$(firstword $(LONG))' SECOND='$(wordlist 2,9,$(LONG))'

.PHONY: lanes
lanes:
	@$(MAKE) -j2 -Otarget $(ALONE) up up-second && $(MAKE) -j2 -Otarget first second; e=$$?; \
	  bin/lab down --name '$(LAB)' || e=1; bin/lab down --name '$(LAB)-2' || e=1; $(MAKE) totals; exit $$e

# verify writes what a lab copies, so it is over before one comes up.
.PHONY: source up-second first second
source:
	@$(MAKE) verify && $(MAKE) check
up-second:
	@$(MAKE) LAB='$(LAB)-2' up
first:
	@for s in $(FIRST); do $(MAKE) e2e-$$s || exit 1; done
second:
	@for s in $(SECOND); do $(MAKE) LAB='$(LAB)-2' e2e-$$s || exit 1; done

# Only the conformance suite skips, what the GatewayClass does not claim; a test
# of ours that skips fails here.
.PHONY: totals
totals:
	@count() { a=$$1; shift; find dist/results "$$@" -exec cat {} + | grep '"Test":' | grep -c "\"Action\":\"$$a\""; }; \
	  echo; echo "conformance: $$(count skip -name 'conformance*.json') tests of features that are not claimed"; \
	  skipped=$$(count skip -name '*.json' ! -name 'conformance*'); \
	  echo "$$(count pass -name '*.json') passed, $$(count fail -name '*.json') failed, $$skipped skipped"; test "$$skipped" = 0

.PHONY: bench
bench: ## the figures, beside what they are measured against: SUITE=allocation|layer2|bgp|gateway|fleet, FULL=1
	@$(MAKE) lab-up
	cd e2e && go build -o ../bin/bench ./cmd/bench
	bin/bench $(if $(findstring command,$(origin SUITE)),-suite $(SUITE)) $(if $(FULL),-full); e=$$?; bin/lab down --name '$(LAB)'; exit $$e

.PHONY: demo
demo: lab images tools ## the story, in the terminal, on a real cluster
	@go build -C e2e -o ../bin/demo ./cmd/demo
	@bin/demo -name '$(LAB)' $(if $(CI),-once)

.PHONY: demo-down
demo-down: bin/lab ## tear the demo down
	@bin/lab down --name '$(LAB)'

.PHONY: clean
clean: ## remove what was built here; caches stay
	rm -rf bin dist
