# The main targets. Only Go is needed, but for race, which needs a C compiler.
TOOL = go tool -modfile=tools/go.mod
FUZZTIME ?= 30s

# go for -tags cuda. CUDA_INCLUDE names the folder of cuda.h; without it one is found, or installed into build/cuda.
CUDA_GO = $(CURDIR)/scripts/cuda.sh go

.PHONY: build test race check generate bench fuzz cuda nvcc kernels kernel-report

build: # one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o advsweep ./cmd/advsweep

test:
	CGO_ENABLED=0 go test ./...

race: # what has goroutines
	CGO_ENABLED=1 go test -race -short ./cpu ./pipeline ./report ./cmd/advsweep

check: # what CI checks besides the tests
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt: the files above need it"; exit 1; }
	go vet ./...
	GOARCH=arm64 go vet ./internal/gemm
	GOARCH=386 go vet ./...
	$(TOOL) staticcheck ./...

generate: # the amd64 kernels from internal/gemm/asm/gen.go
	go generate ./internal/gemm

bench:
	go test -run '^$$' -bench . ./internal/gemm ./cpu

fuzz: # every fuzz target for FUZZTIME
	@set -e; for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

cuda: # advsweep with the CUDA backend: one binary for machines with and without an NVIDIA driver
	$(CUDA_GO) build -tags cuda -trimpath -ldflags "-s -w" -o advsweep ./cmd/advsweep

nvcc: # the compiler that kernels takes, into build/cuda
	scripts/cuda.sh nvcc

kernels: # kernels/*.cu to kernels/sm75.ptx and sm80.ptx
	scripts/kernels.sh

kernel-report: # registers and memory that each kernel takes; fails if one spills
	scripts/kernel-report.sh
