package portable

// Constants are what a generator of assembly needs to do as this package does, bit for bit. The
// coefficients of a polynomial begin with that of the highest power.
type Constants struct {
	Steps, Ln2Hi, Ln2Lo float64        // see Exp and Log
	Powers              [64][2]float64 // 2**(j/64) and what rounding that left
	Expm1               [14]float64    // see Expm1
	Log                 [12]float64    // see Log
	ErfcEven            [13]float64    // see Erfc
	ErfcOdd             [12]float64
	Erf                 [13]float64 // see Erf
}

// Numbers returns the constants of this package.
func Numbers() Constants {
	return Constants{steps, ln2Hi, ln2Lo, powers, expm1Terms, logTerms, erfcEven, erfcOdd, erfTerms}
}
