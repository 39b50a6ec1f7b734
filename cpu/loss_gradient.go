package cpu

import "advsweep/attack"

// lossGradientOf is attack.LossGradient: what every backend starts its way back with.
func lossGradientOf[T Float](loss attack.Loss, q, z []T, y, target int) error {
	return attack.LossGradient(loss, q, z, y, target)
}
