# Larkstream's jobs. `make help` lists them. Each sets up what it needs; only Go must be there.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Pinned tools: the one place where their versions stand.
GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT_SUM     := h1:w94zf8HAYI7hm3164kwKsvZRuqXvY+YxeFoTbu1OLg8=
# Of buf, .ci/buf pins the bytes too.
BUF_VERSION           := v$(shell sed -n 's/.*"@bufbuild\/buf": "\(.*\)".*/\1/p' .ci/buf/package.json)
PROTOC_GEN_GO_VERSION := v1.36.12
GOVULNCHECK_VERSION   := v1.9.0
CYCLONEDX_VERSION     := v1.9.0

TOOLS := $(CURDIR)/.tools
GOLANGCI_LINT = $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
BUF = $(TOOLS)/npm-buf-$(BUF_VERSION)/node_modules/.bin/buf
MODULES := engine shared gateway lab lark services/chunker-svc services/encoder-svc services/projector-svc services/llm-svc
MAINS := ./lark/cmd/lark ./gateway/cmd/gateway $(foreach s,chunker encoder projector llm,./services/$(s)-svc/cmd/$(s)-svc)
PACKAGES := $(addsuffix /...,$(addprefix ./,$(MODULES)))
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/larkstream/larkstream/shared/service.version=$(VERSION)
# The race detector needs a C compiler.
RACE := $(shell { command -v gcc || command -v clang; } >/dev/null && echo -race)
JUKEBOX := github.com/larkstream/larkstream/engine/encoder/jukebox
# Where llama.cpp's libraries are pinned for, the tests that need them must run.
NATIVE := $(if $(filter Linux-x86_64 Linux-aarch64,$(shell uname -s)-$(shell uname -m)),native)
E2E := ./lark/e2e/...
E2E_FLAGS := -vet=off -count=1 -timeout 20m

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install what helps and is missing: ffmpeg, redis-server, PostgreSQL, a C compiler, Java, Maven, npm
	@.ci/deps ffmpeg redis postgres gcc java maven node
	go mod download

.PHONY: build
build: ## build every binary into bin/
	@# Built as the tests are, so that both share the build cache; images are built with -trimpath.
	@.ci/build bin '$(LDFLAGS)' $(MAINS)

.PHONY: demo-llark
demo-llark: deps-ffmpeg build native ## the whole way to a toy LLark: dataset, training, evaluation, an answer (DEMO_CLIPS, DEMO_STEPS, DEMO_MUSIC=toy: see training/demo-llark.sh)
	@.ci/deps python
	training/peers/venv
	training/demo-llark.sh

.PHONY: ablate-llark
ablate-llark: ## train toys that differ in data, decoder or encoder on what demo-llark has made, and lay their evaluations beside each other (DEMO_STEPS, ABLATE: see training/ablate-llark.sh)
	training/ablate-llark.sh

.PHONY: demo
demo: deps-ffmpeg build ## ask the bundled model about a bundled piece of music
	bin/lark demo

# Game music of Debian, 357 tracks under free licences; none of it is in this repository.
MUSIC_PACKAGES ?= wesnoth-1.16-music hyperrogue-music drascula-music singularity-music asc-music planetblupi-music-ogg

.PHONY: demo-index
demo-index: deps-ffmpeg build ## index real tracks, kill everything twice, go on, reconcile, export, report (TRACKS=160; MUSIC=folder, or MUSIC_PACKAGES; OUT=folder)
	@test -n "$(MUSIC)" || dpkg -s $(MUSIC_PACKAGES) >/dev/null 2>&1 || { echo "installing music: $(MUSIC_PACKAGES)"; apt-get install -y -qq --no-install-recommends $(MUSIC_PACKAGES) >/dev/null; }
	TRACKS=$(or $(TRACKS),160) PACKAGES="$(MUSIC_PACKAGES)" lark/demo-index.sh $(or $(OUT),build/demo-index) $(MUSIC)

.PHONY: up
up: deps-ffmpeg build ## run the whole system on this machine until Ctrl-C (ARGS="--data DIR")
	bin/lark up $(ARGS)

.PHONY: native
native: ## fetch llama.cpp's libraries for this processor (native-vulkan, native-cuda, native-cuda12: for GPUs)
	@.ci/deps node
	@go run ./engine/native/cmd/fetch-native -out bin/native

native-%: # another variant, see engine/native/internal/fetch/packages.json
	@.ci/deps node
	@go run ./engine/native/cmd/fetch-native -variant $* -out bin/native

test test-%: export LARK_NATIVE_REQUIRED := $(if $(NATIVE),1)
# Where Python is, what lark index writes must be read by DuckDB, pyarrow, mutagen and pyrekordbox.
test test-%: export LARK_READERS_REQUIRED := $(if $(shell python3 -c 'import ensurepip, venv' 2>/dev/null && echo 1),1)

.PHONY: readers
readers:
	@test -z "$(LARK_READERS_REQUIRED)" || lark/readers/venv

# The linters vet tests, so building them does not.
TEST_FLAGS := -vet=off -shuffle=on -timeout 20m
# The race detector finds something only where there are goroutines: where a package or its tests import sync or goleak. The packages of
# CALM start none, or call what is tested for itself; their tests look for leaks in what they call. Under the detector the packages of ARITHMETIC take seven to ten times as long, so
# that there it runs what concerns concurrency.
CALM := engine/(mir|audio|audio/cut|trace)|lark/internal/(cli|modelcheck)|lab/engines
ARITHMETIC := tensor|encoder|encoder/jukebox|encoder/ggmljukebox|encoder/whisper
CONCURRENT := Context|AtOnce|Together|InUse|InHand|Memory|KernelsAreTriedOnce
# $(1) is 1 for the packages that the detector runs whole, 0 for the others.
tested = go list -f '{{.ImportPath}} {{.Imports}} {{.TestImports}} {{.XTestImports}}' $(PACKAGES) | grep -v '^[^ ]*/lark/e2e ' \
	| awk -v other='/($(CALM)|engine/($(ARITHMETIC)))$$' '($$1 !~ other && /[[ ]sync[] ]|[[ ]sync\/|goleak/ ? 1 : 0) == $(1) { print $$1 }'

.PHONY: test
test: test-unit test-e2e ## run every test but those against a real Kafka

.PHONY: test-unit
test-unit: deps-test $(NATIVE) readers ## run the tests of every package
	go test $(RACE) $(TEST_FLAGS) $$($(call tested,1))
	go test $(RACE) $(TEST_FLAGS) -run '$(CONCURRENT)' $(addprefix ./engine/,$(subst |, ,$(ARITHMETIC)))
	go test $(TEST_FLAGS) $$($(call tested,0))

.PHONY: test-kernels
test-kernels: ## run the encoders' arithmetic on the kernels that other machines would choose
	@# The tests of ./engine/tensor run on every kernel of the machine by themselves.
	LARK_KERNEL=avx2 go test -vet=off -count=1 -timeout 20m -run 'References|Trainer' ./engine/encoder/{jukebox,nano}
	@# Plain Go is slow: there, each step of the encoder but not each clip.
	LARK_KERNEL=go go test -vet=off -count=1 -timeout 20m -run 'EveryStep|Conditioning|Trainer' ./engine/encoder/{jukebox,nano}
	@# float32 is the same with and without bfloat16 in hardware.
	LARK_KERNEL=avx512 go test -vet=off -count=1 -timeout 20m -run Bfloat16 $(JUKEBOX)

.PHONY: test-audio-differential
test-audio-differential: deps-ffmpeg ## compare our decoding of 500 generated files with ffmpeg's, whole, cut and damaged (hours; AUDIO_FILES=500,20; AUDIO_PASSED=FILE goes on with a run that was stopped)
	LARK_DIFFERENTIAL_PASSED=$(abspath $(AUDIO_PASSED)) LARK_DIFFERENTIAL=$(or $(AUDIO_FILES),500,20) go test -count=1 -timeout 12h -parallel 8 -run '^TestDifferential$$' ./engine/audio

.PHONY: fuzz
fuzz: ## fuzz every parser one after another (FUZZTIME=30s or 100000x for each, FUZZ="engine/audio:FuzzDecode ..."); see docs/security.md
	@.ci/fuzz $(or $(FUZZTIME),30s) build/fuzz $(FUZZ)

.PHONY: test-devices test-devices-cuda
test-devices: native-vulkan ## run the encoders' graphs on the first Vulkan device; Debian's lavapipe is one without a GPU
	@.ci/deps vulkan
	$(call test-device,vulkan,Vulkan0)
test-devices-cuda: native-cuda ## run the encoders' graphs on the first CUDA device
	$(call test-device,cuda,CUDA0)

# $(1) is the variant of the libraries, $(2) ggml's name of the device.
test-device = LARK_NATIVE_REQUIRED=1 LARK_NATIVE_DIR=$(CURDIR)/bin/native/$(1) GGML_VK_VISIBLE_DEVICES=0 LARK_TEST_DEVICE=$(2) \
	go test -vet=off -count=1 -timeout 10m ./engine/encoder/ggmljukebox ./engine/encoder/ggmlwhisper

.PHONY: test-e2e
test-e2e: deps-test $(NATIVE) readers ## run the end-to-end suite through the binaries on the embedded broker
	go test $(E2E_FLAGS) -skip '^TestUpgrade' $(E2E)

.PHONY: test-upgrade
test-upgrade: deps-test $(NATIVE) ## upgrade working installations from the version before the newest migration, and go back, as docs/operations.md says
	@.ci/deps java maven curl sqlite3
	go test $(E2E_FLAGS) -run '^TestUpgradeOfLarkUp$$' $(E2E)
	LARK_E2E_KAFKA=real LARK_E2E_DB=postgres LARK_E2E_AUTH=keys go test $(E2E_FLAGS) -run '^TestUpgradeOneAfterAnother$$' $(E2E)

.PHONY: chaos
chaos: deps-test $(NATIVE) ## kill processes with kill -9 at random moments (KILLS=50; FOR=1h at most; KAFKA=real for Apache Kafka, DB=postgres for PostgreSQL)
	LARK_CHAOS_KILLS=$(or $(KILLS),50) LARK_CHAOS_TIME=$(FOR) LARK_E2E_KAFKA=$(KAFKA) LARK_E2E_DB=$(DB) go test -vet=off -count=1 -timeout 0 -v -run '^TestKillsAtRandomMoments$$' $(E2E)

.PHONY: bin/lark-sim
bin/lark-sim: ## build lark with the simulator, see docs/reliability.md
	go build -tags synctests -ldflags '$(LDFLAGS)' -o $@ ./lark/cmd/lark

.PHONY: test-sim test-sim-bites
test-sim: bin/lark-sim ## simulate SEEDS=1-300 and test the simulator
	@.ci/deps patch
	go test -vet=off -tags synctests -count=1 ./lab/sim
	GOGC=400 bin/lark-sim sim --seeds $(or $(SEEDS),1-300)

test-sim-bites: ## put known defects back, one by one, and look for the seed that finds each (LAST_SEED=200)
	@.ci/deps patch
	GOGC=400 lab/sim/bites.sh $(or $(LAST_SEED),200)

.PHONY: test-training
test-training: ## run the trainers' tests, and train a toy that Go must load
	@.ci/deps python
	cd training && { test -x build/venv/bin/python || python3 -m venv build/venv; } \
		&& build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt && build/venv/bin/python -m pytest -q \
		&& ./smoke.sh build/venv/bin/python

.PHONY: test-llark
test-llark: ## run the tests of the trainer of training/llark; installs PyTorch (5.5 GB)
	@.ci/deps python
	cd training && peers/venv && build/torch/bin/python -m pytest -q --show-capture=no llark/tests

.PHONY: test-integration
test-integration: $(NATIVE) readers ## run the end-to-end suite with keys against a real Kafka, Redis and PostgreSQL, and the job store's tests on PostgreSQL
	@.ci/deps ffmpeg redis postgres java maven
	LARK_REQUIRE_POSTGRES=1 go test $(TEST_FLAGS) -count=1 ./gateway/...
	LARK_E2E_KAFKA=real LARK_E2E_DB=postgres LARK_E2E_AUTH=keys go test $(E2E_FLAGS) -skip '^TestUpgrade' $(E2E)

.PHONY: lint
lint: generate-check tidy-check standalone lint-api $(GOLANGCI_LINT) ## run the linters and check generated code and modules
	$(GOLANGCI_LINT) run --allow-parallel-runners $(PACKAGES)
	@$(GOLANGCI_LINT) fmt --diff $(MODULES) || { echo "code is not formatted: run 'make fmt' and commit the result"; exit 1; }

REDOCLY_VERSION := 2.77.0
REDOCLY := build/redocly-$(REDOCLY_VERSION)/node_modules/.bin/redocly

$(REDOCLY):
	@.ci/deps node
	npm install --silent --no-audit --no-fund --prefix build/redocly-$(REDOCLY_VERSION) @redocly/cli@$(REDOCLY_VERSION)

.PHONY: lint-api
lint-api: $(REDOCLY) # the specification is valid for others. "default" stands for every 4xx answer, and the other rule does not see the properties beside a not
	REDOCLY_TELEMETRY=off $(REDOCLY) lint --skip-rule operation-4xx-response --skip-rule no-required-schema-properties-undefined docs/api/openapi.json

.PHONY: python-client
python-client: ## generate the typed Python client of the API into build/python-client
	lark/readers/venv
	PATH="$(CURDIR)/build/readers/bin:$$PATH" build/readers/bin/openapi-python-client generate --path docs/api/openapi.json --output-path build/python-client --overwrite --fail-on-warning

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## format the Go code (gofumpt, import groups)
	$< fmt $(MODULES)

.PHONY: generate
generate: $(BUF) $(TOOLS)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION) ## re-generate the protobuf code and the matrix kernels
	cd shared/event && PATH="$(TOOLS):$$PATH" $(BUF) generate
	cd engine/tensor && go generate .

.PHONY: generate-check
generate-check: generate # generated code in the tree is what the generator makes
	@git diff --exit-code --stat -- shared/event/eventpb engine/tensor || { echo "generated code is stale: commit the result of 'make generate'"; exit 1; }

.PHONY: tidy-check
tidy-check: # each go.mod names what its module imports, nothing else
	@for m in $(MODULES); do echo "go mod tidy -diff $$m"; (cd $$m && GOWORK=off go mod tidy -diff) || exit 1; done

.PHONY: standalone
standalone: # each module and its tests build without the workspace
	@for m in $(MODULES); do echo "GOWORK=off go vet $$m"; (cd $$m && GOWORK=off go vet ./...) || exit 1; done

.PHONY: vuln
vuln: $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION) ## look for known vulnerabilities (needs the network)
	for m in $(MODULES); do (cd $$m && $< ./...) || exit 1; done

.PHONY: release
release: $(TOOLS)/cyclonedx-gomod-$(CYCLONEDX_VERSION) ## build the binaries for Linux into dist/, each with its SBOM, and their sums and provenance
	@.ci/release dist '$(VERSION)' '$(LDFLAGS)' $< $(MAINS)

.PHONY: images
images: ## build the images with SBOM and provenance attached (needs docker buildx; IMAGES=larkstream/ PUSH=--push)
	@for d in gateway services/{chunker,encoder,projector,llm}-svc; do \
		docker buildx build --sbom=true --provenance=mode=max --tag $(or $(IMAGES),larkstream/)$${d##*/}:$(VERSION) $(PUSH) --file $$d/Dockerfile . || exit 1; done

.PHONY: pin-images
pin-images: ## pin the images that others publish by digest, in the Dockerfiles and in compose (needs docker buildx and the registries)
	@.ci/pin-images

.PHONY: bench
bench: deps-ffmpeg build ## measure the pipeline against a plain loop over the same engines (ARGS=...)
	bin/lark bench pipeline $(ARGS)

.PHONY: bench-encoder
bench-encoder: build ## measure the Jukebox encoder beside PyTorch (ARGS="--model DIR [--layers N]"; PEER=off leaves PyTorch out)
	@.ci/deps python
	@peer=; if [ "$(PEER)" != off ]; then \
		if training/peers/venv; then peer="training/build/torch/bin/python training/peers/jukebox_torch.py"; \
		else echo "PyTorch could not be installed: measuring without it" >&2; fi; fi; \
	bin/lark bench encoder --peer "$$peer" $(ARGS)

.PHONY: bench-mir
bench-mir: deps-ffmpeg build ## compare lark analyse with Essentia, aubio and librosa on about 100 labelled clips (Debian; an hour on two cores)
	@training/peers/mir build/mir bin/lark

.PHONY: bench-llm
bench-llm: build native ## measure the decoder on llama.cpp beside a bare loop, on random weights of 7B (7 GB; ARGS=...)
	@test -f build/random-7b/model.yaml || bin/lark model random llama --preset 7b --quant q8_0 --out build/random-7b
	bin/lark bench llm --model build/random-7b $(ARGS)

.PHONY: bench-audio-llm
bench-audio-llm: build native ## measure encoder and decoder of Music Flamingo's shape beside PyTorch and a bare loop (3.5 GB with 4 of 28 layers; ARGS=...; PEER=off)
	@.ci/deps python
	@test -f build/random-mf4/model.yaml || bin/lark model random audio-llm --preset music-flamingo --quant q8_0 --layers 4 --out build/random-mf4
	@peer=; if [ "$(PEER)" != off ]; then \
		if training/peers/venv; then peer="training/build/torch/bin/python training/peers/whisper_torch.py"; \
		else echo "PyTorch could not be installed: measuring without it" >&2; fi; fi; \
	bin/lark bench audio-llm --model build/random-mf4 --peer "$$peer" $(ARGS)

.PHONY: train-nano
train-nano: ## train lark-nano again; hours, see training/README.md
	training/train.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin build dist .tools

.PHONY: deps-ffmpeg deps-test
deps-ffmpeg:
	@.ci/deps ffmpeg

deps-test:
	@.ci/deps ffmpeg redis postgres gcc jq patch

# A tool is built from the Go module proxy and kept under its version, so that a new version is a new file.
define go-tool
$(TOOLS)/$(1)-$(2):
	@echo "building $(1) $(2)"
	@mkdir -p $(TOOLS)/build
	@GOWORK=off GOFLAGS= GOBIN=$(TOOLS)/build go install $(3)@$(2)
	@mv $(TOOLS)/build/$(1) $$@ && ln -sf $(1)-$(2) $(TOOLS)/$(1)
endef
$(eval $(call go-tool,protoc-gen-go,$(PROTOC_GEN_GO_VERSION),google.golang.org/protobuf/cmd/protoc-gen-go))
$(eval $(call go-tool,cyclonedx-gomod,$(CYCLONEDX_VERSION),github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod))
$(eval $(call go-tool,govulncheck,$(GOVULNCHECK_VERSION),golang.org/x/vuln/cmd/govulncheck))

# It has the linters that the configuration enables, so it is built anew when that changes.
$(GOLANGCI_LINT): .golangci.yml .ci/golangci-lint .ci/trim-linters.go
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION)"
	@mkdir -p $(TOOLS)
	@.ci/golangci-lint $(GOLANGCI_LINT_VERSION) $(GOLANGCI_LINT_SUM) $@ && ln -sf $(@F) $(TOOLS)/golangci-lint

# buf comes built, from npm: that takes seconds where building it takes minutes.
$(BUF):
	@echo "fetching buf $(BUF_VERSION)"
	@.ci/deps node
	@mkdir -p $(TOOLS)/npm-buf-$(BUF_VERSION) && cp .ci/buf/package.json .ci/buf/package-lock.json $(TOOLS)/npm-buf-$(BUF_VERSION)
	@npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(TOOLS)/npm-buf-$(BUF_VERSION)
