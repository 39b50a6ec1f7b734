package pipeline_test

import (
	"context"
	"fmt"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
)

// Accuracy of the embedded model over 100 images under FGSM.
func ExampleSweep() {
	m, _ := model.Default() // or model.Load("my.safetensors")
	set, _ := dataset.MNIST1000()
	set, _ = set.Slice(0, 100)
	backend, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		panic(err)
	}
	defer backend.Close()
	sweep := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.1, 0.3}}
	result, err := sweep.Run(context.Background(), backend, set)
	if err != nil {
		panic(err)
	}
	for e, eps := range result.Eps {
		fmt.Printf("eps %.1f: %d of %d right\n", eps, result.Curves[0].Correct[e], result.N)
	}
	// Output:
	// eps 0.0: 100 of 100 right
	// eps 0.1: 1 of 100 right
	// eps 0.3: 0 of 100 right
}
