package attack

import (
	"context"
	"fmt"
	"math"

	"advsweep/internal/portable"
)

// A Noisy is what an attack through noise averages: so many draws of normal noise of standard
// deviation Sigma, in units of pixels, on each pixel. Another attack has neither.
type Noisy struct {
	Draws int     `json:",omitempty"`
	Sigma float64 `json:",omitempty"`
}

// MaxDraws is the most draws of noise at a step.
const MaxDraws = 10000

// validate returns an error for draws or a deviation that no attack can have.
func (n Noisy) validate() error {
	if n.Draws < 0 || n.Draws > MaxDraws {
		return fmt.Errorf("%d draws of noise, want 1 to %d", n.Draws, MaxDraws)
	}
	if !(n.Sigma >= 0) || n.Sigma-n.Sigma != 0 {
		return fmt.Errorf("noise of standard deviation %v, want a finite number of at least 0", n.Sigma)
	}
	return nil
}

// EOT is expectation over transformation: k steps of 2.5·eps/k along the mean of the gradients at
// so many copies of the image, each with normal noise of its own, kept in the ball. It is an attack
// on the classifier that package smooth certifies, which decides by such copies. The network itself
// sees no noise; a mean of gradients helps there where they change from point to point.
//
// The noise of a copy goes beyond ball and bounds. A step takes the gradients as they are: an image
// that is read with confidence in one copy counts for less there.
//
// Athalye, Engstrom, Ilyas, Kwok 2018, arXiv:1707.07397, equation 2; for normal noise Salman et al.
// 2019, arXiv:1906.04584, section 2.2.
func EOT(k, draws int, sigma float64, seed uint64) Attack {
	return Attack{
		Name: "eot", Kind: "eot", Steps: k, Direction: Along, StepLength: StepLength{Factor: 2.5}, Seed: seed,
		Noisy: Noisy{Draws: draws, Sigma: sigma},
	}
}

type eot struct{}

func (eot) Facts() Facts {
	return Facts{
		Default: EOT(40, 10, 0.25, 0),
		Options: []string{"steps", "step", "norm", "target", "draws", "sigma", "seed"},
		OwnLoss: true,
		About:   "k steps of 2.5·eps/k along the mean gradient of copies with normal noise",
		Source:  "Athalye et al. 2018, arXiv:1707.07397; Salman et al. 2019, arXiv:1906.04584",
	}
}

func (eot) Label(a Attack) string {
	return fmt.Sprintf("EOT, k = %d, %d × σ %v", a.Steps, a.Noisy.Draws, a.Noisy.Sigma)
}

// Cost is a gradient for each copy.
func (eot) Cost(a Attack) Cost {
	passes := 2 * a.Steps * a.Noisy.Draws
	return Cost{Row: float64(passes), Share: 1 + passes}
}

// Ray is false: gradients are taken anew at each step.
func (eot) Ray(Attack) bool { return false }

func (eot) Run(ctx context.Context, a Attack, rows Rows) error {
	h, err := newHolder(ctx, a, rows)
	if err != nil {
		return err
	}
	n := rows.N()
	m := averager{
		holder: h, labels: rows.Labels(), images: rows.Images(), factor: make([]float64, n), stays: make([]float64, n),
		mean: make([]float64, len(h.along)), copies: make([]float64, len(h.along)),
	}
	for k := range a.Steps {
		if err := m.average(ctx, k); err != nil {
			return err
		}
		m.step(a.Move(k, rows).Size)
		rows.Done()
	}
	return h.move(ctx)
}

// An averager holds the rows of EOT.
type averager struct {
	*holder
	labels []int32
	images []int
	mean   []float64 // [N·I], the sum of the gradients, times exp(-factor)
	factor []float64 // [N], the largest of the logarithms of lossSlope's factors in a sum
	stays  []float64 // [N], what a sum so far is times when a larger one comes
	copies []float64 // [N·I], the ways to the copies with noise
}

// average writes the sum of the gradients at the copies of step k to mean.
func (m *averager) average(ctx context.Context, k int) error {
	clear(m.mean)
	for draw := range m.a.Noisy.Draws {
		if err := m.toCopies(ctx, k*m.a.Noisy.Draws+draw); err != nil {
			return err
		}
		_, g, err := m.rows.See(ctx, func(k int, z, q []float64) {
			factor, before := lossSlope(q, z, int(m.labels[k]), targetOf(m.rows, k)), m.factor[k]
			if draw == 0 {
				before = factor
			}
			m.factor[k] = max(before, factor)
			m.stays[k] = portable.Exp(before - m.factor[k])
			share := portable.Exp(factor - m.factor[k])
			for j := range q {
				q[j] *= share
			}
		})
		if err != nil {
			return err
		}
		m.eachRow(func(_ *scratch, k int) {
			sum := m.mean[k*m.size:][:m.size]
			for i, v := range g[k] {
				sum[i] = float64(m.stays[k]*sum[i]) + v
			}
		})
	}
	return nil
}

// toCopies moves each row from its way by a draw of noise, past ball and bounds.
func (m *averager) toCopies(ctx context.Context, draw int) error {
	m.eachRow(func(s *scratch, k int) {
		noise, to := s.vector(0, m.size), m.copies[k*m.size:][:m.size]
		Normals(noise, m.a.Seed, m.images[k], uint32(draw))
		for i, v := range m.way(k) {
			to[i] = v + float64(m.a.Noisy.Sigma*noise[i])
		}
	})
	if err := toClean(ctx, m.rows); err != nil {
		return err
	}
	s := m.a.along(m.rows, m.copies)
	s.Ball, s.Bounds = false, Bounds{}
	return m.rows.Step(ctx, s)
}

// step goes so far along the mean gradient, size [C] by column, and keeps the rows in their balls
// and the bounds. A row whose mean is zero stays.
func (m *averager) step(size []float64) {
	columns, norm := m.rows.Columns(), norms[m.a.Norm]
	m.eachRow(func(s *scratch, k int) {
		g, d := m.mean[k*m.size:][:m.size], m.way(k)
		if norm.dual(g) == 0 {
			return
		}
		norm.steepest(g)
		for i, v := range g {
			d[i] += float64(size[k%len(columns)] * v)
		}
		norm.shrink(s, d, columns[k%len(columns)])
		m.inBounds(k, d)
	})
}

// lossSlope writes to q [O] the gradient of the cross-entropy at the logits z [O] of one row with a
// label, or with a target that of minus its cross-entropy, but for the factor 1 - p, where p is the
// probability of that class. It returns the logarithm of the factor, which decides how much a copy
// counts and may be less than a float64 can be.
func lossSlope(q, z []float64, label, target int) (logFactor float64) {
	of := label
	if target >= 0 {
		of = target
	}
	_ = LossGradient(CrossEntropy, q, z, label, target) // a loss that is known
	top, rest := largest(z, of), 0.0
	for j, v := range z {
		if j != of {
			rest += portable.Exp(v - top)
		}
	}
	// 1 - p = 1/(1 + exp(lead))
	lead := z[of] - top - portable.Log(rest)
	return -(max(lead, 0) + portable.Log(1+portable.Exp(-math.Abs(lead))))
}
