package pipeline

import "advsweep/model"

// Fingerprint is a place holder until the real one is merged.
func Fingerprint(open func(*model.Model) (Backend, error)) (string, error) { return "0000000000000000", nil }
