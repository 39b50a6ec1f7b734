//go:build arm64 && !purego

#include "textflag.h"

// Both kernels hold the tile in V16 to V31, two registers a row, the row of B in
// V0 and V1, and eight copied elements of A in V2 to V9. T is the arrangement.

#define LOADROW(T, X, Y) VLD1 (R6), [X.T, Y.T]; ADD R4, R6
#define STOREROW(T, X, Y) VST1 [X.T, Y.T], (R6); ADD R4, R6
#define EACHROW(OP, T) \
	MOVD R3, R6         \
	OP(T, V16, V17)     \
	OP(T, V18, V19)     \
	OP(T, V20, V21)     \
	OP(T, V22, V23)     \
	OP(T, V24, V25)     \
	OP(T, V26, V27)     \
	OP(T, V28, V29)     \
	OP(T, V30, V31)

#define FMAROW(T, A, X, Y) VFMLA V0.T, A.T, X.T; VFMLA V1.T, A.T, Y.T
#define STEP(T, SIZE) \
	VLD1.P 32(R2), [V0.T, V1.T] \
	VLD1R.P SIZE(R1), [V2.T]    \
	VLD1R.P SIZE(R1), [V3.T]    \
	VLD1R.P SIZE(R1), [V4.T]    \
	VLD1R.P SIZE(R1), [V5.T]    \
	VLD1R.P SIZE(R1), [V6.T]    \
	VLD1R.P SIZE(R1), [V7.T]    \
	VLD1R.P SIZE(R1), [V8.T]    \
	VLD1R.P SIZE(R1), [V9.T]    \
	FMAROW(T, V2, V16, V17)     \
	FMAROW(T, V3, V18, V19)     \
	FMAROW(T, V4, V20, V21)     \
	FMAROW(T, V5, V22, V23)     \
	FMAROW(T, V6, V24, V25)     \
	FMAROW(T, V7, V26, V27)     \
	FMAROW(T, V8, V28, V29)     \
	FMAROW(T, V9, V30, V31)

// func neon_float32(k int, a, b, c *float32, ldc int)
TEXT ·neon_float32(SB), NOSPLIT, $0-40
	MOVD k+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD c+24(FP), R3
	MOVD ldc+32(FP), R4
	LSL  $2, R4, R4
	EACHROW(LOADROW, S4)
	CBZ  R0, store

loop:
	STEP(S4, 4)
	SUBS $1, R0, R0
	BNE  loop

store:
	EACHROW(STOREROW, S4)
	RET

// func neon_float64(k int, a, b, c *float64, ldc int)
TEXT ·neon_float64(SB), NOSPLIT, $0-40
	MOVD k+0(FP), R0
	MOVD a+8(FP), R1
	MOVD b+16(FP), R2
	MOVD c+24(FP), R3
	MOVD ldc+32(FP), R4
	LSL  $3, R4, R4
	EACHROW(LOADROW, D2)
	CBZ  R0, store

loop:
	STEP(D2, 8)
	SUBS $1, R0, R0
	BNE  loop

store:
	EACHROW(STOREROW, D2)
	RET
