// Package cusim controls the simulated CUDA driver in this folder, on which the tests of the cuda
// build run where there is no GPU: it injects faults and counts calls, launches and leaks.
// README.md says what is simulated.
//
// Without the cuda build tag the package is empty.
package cusim
