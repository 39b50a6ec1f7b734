// What convolutions and pools share. A kernel [KH, KW] moves by (SH, SW) over an image [H, W] of
// pixels, with top rows and left columns of padding before it. Output (r, c) of [OH, OW] takes rows
// r·SH - top to r·SH - top + KH - 1, and columns likewise.
#pragma once
#include "portable.cuh"

#define WINDOW int H, int W, int KH, int KW, int SH, int SW, int top, int left, int OH, int OW

// first_window and last_window are the outputs whose windows reach a row or column, counted with
// the padding before it. There is none if first is larger.
__device__ __forceinline__ int first_window(int at, int kernel, int stride) { return at < kernel ? 0 : (at - kernel) / stride + 1; }
__device__ __forceinline__ int last_window(int at, int stride, int outputs) { return min(at / stride, outputs - 1); }
