# The main targets. Only Go is needed, but race needs a C compiler, and so does what follows "cuda", and check: see
# scripts/cuda.sh. The simulator is C++.
TOOL = go tool -modfile=tools/go.mod
FUZZTIME ?= 30s

# A program to give away: no paths of this machine, no symbols, and the commit, for record.Build. Two builds of one commit
# are to be the same bytes, so the go command's own stamp is left out, for it holds what the clone knows of tags, and its
# build id, which depends on the folder of cuda.h.
COMMIT = $(shell scripts/commit.sh)
RELEASE = -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X advsweep/record.commit=$(COMMIT)"

# go for -tags cuda. CUDA_INCLUDE names the folder of cuda.h; without it one is found, or installed into build/cuda.
CUDA_GO = $(CURDIR)/scripts/cuda.sh go

# The scripts that time other programs, for bench-peers and bench-gpu; MNIST and weights for bench-peers.
PEERS ?= $(abspath ../shared/peers)
MNIST ?= $(abspath ../shared/mnist)
WEIGHTS ?= $(abspath ../shared/reference/mlp.safetensors)

# What has tests with -tags cuda, and what the simulated driver that runs them without a GPU is made of.
CUDA_TESTS = ./gpu ./gpu/cudrv ./internal/cusim ./cmd/advsweep
SIMULATOR = $(wildcard kernels/*.cu kernels/*.cuh internal/cusim/*.cpp internal/cusim/*.h internal/cusim/*.sh)

.DELETE_ON_ERROR:
.PHONY: build test test-long arithmetic race check instruction-sets generate bench bench-peers fuzz cuda nvcc kernels kernel-report \
	cuda-tests test-sim test-asan test-tsan mutants gpu-binaries test-gpu sanitize bench-gpu kubernetes-check slurm-test bench-shards simulate zoo \
	licenses sbom verify reproducible hosts reliability soundness vnnlib certified

build: # one static binary
	CGO_ENABLED=0 go build $(RELEASE) -o advsweep ./cmd/advsweep

test:
	CGO_ENABLED=0 go test ./...

test-long: # the packages that have tests with a long form, in that form: see internal/testsize
	@packages="$$(go list -f '{{$$p := .ImportPath}}{{range .TestImports}}{{if eq . "advsweep/internal/testsize"}}{{$$p}} {{end}}{{end}}{{range .XTestImports}}{{if eq . "advsweep/internal/testsize"}}{{$$p}} {{end}}{{end}}' ./... | tr -s '\n' ' ')"; \
	set -ex; [ -n "$$packages" ]; ADVSWEEP_LONG=1 CGO_ENABLED=0 go test $$packages

arithmetic: # how many multiply-adds runs of the command take, as they now do: see TestArithmetic
	CGO_ENABLED=0 go test -run '^TestArithmetic$$' ./cmd/advsweep -update

# The detector does not see into assembly, and goroutines are the same on every path, in both
# precisions and in fast math, of which TestNetworkBits has its share: of the suite for backends it
# runs plain Go in float32, without what repeats a batch in pieces. TestMarginBound and
# TestRoundedClasses ask for numbers of what its cases of rounding and outcomes go through.
NO_RACE = ^(TestExact|TestBetween|TestKill|TestFastNetworks|TestMarginBound|TestRoundedClasses)$$|/^(avx2|avx512|neon|float64)$$|/./^float64$$|^(TestBackend|TestNetworks)$$/^go$$/^float32$$/^(rows|general_rows)$$
race: # what has goroutines; those of report draw files, which the command's tests want
	CGO_ENABLED=1 go test -race -short -timeout 40m -skip '$(NO_RACE)' ./attack ./internal/threads ./cpu ./study ./cluster/... ./dashboard
	@# All attacks, whose rows are decided on several threads and called back from those of the CPU.
	CGO_ENABLED=1 go test -race -short -timeout 40m -run '^TestChunks$$' ./pipeline
	@# These start goroutines in one place each: to corrupt images, to draw noise, to hash a file.
	CGO_ENABLED=1 go test -race -short -timeout 40m -run '^Test(RunIsOneResult|SameBytes|Sum|NPZ)$$' ./corrupt ./smooth ./model
	@# The command has goroutines of its own where it reads inputs, is told to stop, shows progress and serves a page.
	CGO_ENABLED=1 go test -race -short -timeout 40m -run '^Test(Cluster|Credential|IdleConnections|PageAfterDispute|Settle|Study|Array|Interrupt|CtrlC|HangUp|Progress|Demo|SweepContract|Train|Shards|CompareModels|SaveImages)$$' ./cmd/advsweep

check: # what CI checks besides the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt: the files above need it"; exit 1; }
	go vet ./...
	GOARCH=arm64 go vet ./internal/gemm
	@# 32 bits and Windows at once: each is another compilation of everything.
	GOOS=windows GOARCH=386 go vet ./...
	$(TOOL) staticcheck ./...
	$(CUDA_GO) vet -tags cuda ./...
	scripts/cuda.sh $(TOOL) staticcheck -tags cuda ./...

instruction-sets: # the same sweeps with every kernel of amd64 and, under qemu-aarch64, arm64: the same bytes
	scripts/instruction-sets.sh

generate: # the amd64 kernels from internal/gemm/asm/gen.go
	go generate ./internal/gemm

licenses: # THIRD_PARTY_LICENSES and what 'advsweep licenses' prints, from the modules that builds link
	go generate ./internal/licenses

sbom: # build/sbom: what each build links, in CycloneDX
	scripts/sbom.sh

verify: # the modules on this machine, of the program and of the tools, are those of go.sum
	go mod download && go mod verify
	go mod download -modfile=tools/go.mod && GOFLAGS=-modfile=tools/go.mod go mod verify

reproducible: # two builds of this commit, in two folders, are the same bytes
	scripts/reproducible.sh

bench:
	go test -run '^$$' -bench . ./internal/gemm ./cpu ./pipeline

bench-peers: # against JAX, PyTorch and others, in turn, as ratios: scripts/bench-peers.sh says what it takes from the environment
	PEERS="$(PEERS)" MNIST="$(MNIST)" WEIGHTS="$(WEIGHTS)" scripts/bench-peers.sh

SEEDS ?= 10000
SEED ?= 1
simulate: # SEEDS studies from seed SEED on, with a model of all that can fail around them: see cluster/simulate
	SEED=$(SEED) SEEDS=$(SEEDS) go test -count=1 -timeout 0 -run '^TestSeeds$$' -v ./cluster/simulate

zoo: # sixty architectures and hundreds of random graphs against onnxruntime and PyTorch, to docs/zoo.md: see scripts/zoo.sh
	scripts/zoo.sh

soundness: # attacks on boxes whose answers are proven; VNN=DIR has NAME.npz and nets, see docs/soundness.md
	@test -n "$(VNN)" || { echo "make soundness VNN=DIR: DIR has NAME.npz and nets, see docs/soundness.md"; exit 1; }
	ADVSWEEP_VNN="$(abspath $(VNN))" go test -count=1 -timeout 0 -run '^TestSoundness$$' -v ./pipeline

certified: # proofs of the same boxes, see docs/certify.md
	@test -n "$(VNN)" || { echo "make certified VNN=DIR: DIR has NAME.npz and nets, see docs/soundness.md"; exit 1; }
	ADVSWEEP_VNN="$(abspath $(VNN))" go test -count=1 -timeout 0 -run '^TestCertifiedSoundness$$' -v ./pipeline

vnnlib: build # answers of falsify where they are proven; VNN=DIR as above, PYTHON with onnxruntime, see docs/vnnlib.md
	@test -n "$(VNN)" || { echo "make vnnlib VNN=DIR: DIR has NAME.npz and nets, see docs/vnnlib.md"; exit 1; }
	GOMAXPROCS=1 $(or $(PYTHON),python3) scripts/vnnlib.py ./advsweep "$(abspath $(VNN))" build/vnnlib 10

fuzz: # every fuzz target for FUZZTIME
	@set -e; for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

cuda: # advsweep with the CUDA backend: one binary for machines with and without an NVIDIA driver
	$(CUDA_GO) build -tags cuda $(RELEASE) -o advsweep ./cmd/advsweep

nvcc: # the compiler that kernels takes, into build/cuda
	scripts/cuda.sh nvcc

kernels: # kernels/*.cu to kernels/sm75.ptx and sm80.ptx
	scripts/kernels.sh

kernel-report: # registers and memory that each kernel takes; fails if one spills more than two words
	scripts/kernel-report.sh

cuda-tests: # the tests with -tags cuda, one program a package
	@mkdir -p build/test
	$(CUDA_GO) test -c -tags cuda -o build/test/ $(CUDA_TESTS)

build/cusim/%.so: $(SIMULATOR)
	@mkdir -p build/cusim
	internal/cusim/build.sh $* $@

test-sim: cuda-tests build/cusim/plain.so # the tests with -tags cuda on the simulated driver, which needs no GPU
	scripts/sim.sh test

test-asan test-tsan: test-%: cuda-tests build/cusim/%.so # the same under a sanitizer, which looks into the kernels
	scripts/sim.sh $*

mutants: cuda-tests # the tests must catch every mistake of internal/cusim/mutants
	scripts/mutants.sh

# What follows needs a GPU and its driver; gpu-binaries does not, and makes a folder to take to a machine that has them.
gpu-binaries: # build/gpu-bin: the program, its tests, and run.sh, which needs neither Go nor make
	scripts/gpu-binaries.sh

test-gpu: gpu-binaries # all tests with -tags cuda
	build/gpu-bin/run.sh test

sanitize: gpu-binaries # compute-sanitizer over the tests of gpu
	build/gpu-bin/run.sh sanitize

bench-gpu: gpu-binaries # against JAX and PyTorch, in turn, if PEERS has the scripts that run them
	build/gpu-bin/run.sh bench $(PEERS)

kubernetes-check: # the job files for Kubernetes, by the code of its API server
	scripts/kubernetes.sh

slurm-test: # a study on a real Slurm, with a node killed; needs root and installs Debian's packages
	scripts/slurm.sh

reliability: # docs/reliability.md: kills, faults, damage and load, many times; hours. See scripts/reliability.sh
	scripts/reliability.sh

hosts: # a study on three hosts with delay, loss, a partition, a kill and an arm64 worker: see scripts/hosts.sh
	scripts/hosts.sh

SHARDS ?= 10000

bench-shards: # what a shard costs beside its work: SHARDS of them that take no time, by NATS to 8 workers
	ADVSWEEP_LOAD=$(SHARDS) go test -count=1 -timeout 30m -run '^TestLoad$$' -v ./cluster | grep -v '^==='
