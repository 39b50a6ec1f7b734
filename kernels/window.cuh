// What convolutions and pools share. A kernel [KH, KW] moves by (SH, SW) over an image [H, W] of
// pixels, with top rows and left columns of padding before it. Its places lie DH rows and DW columns
// apart. Output (r, c) of [OH, OW] takes rows r·SH - top + u·DH, u below KH, and columns likewise.
#pragma once
#include "portable.cuh"

#define WINDOW int H, int W, int KH, int KW, int SH, int SW, int top, int left, int DH, int DW, int OH, int OW

// first_window and last_window are the outputs whose windows reach a row or column, counted with
// the padding before it. There is none if first is larger.
__device__ __forceinline__ int first_window(int at, int kernel, int stride, int dilation) {
  const int reach = (kernel - 1) * dilation + 1;
  return at < reach ? 0 : (at - reach) / stride + 1;
}
__device__ __forceinline__ int last_window(int at, int stride, int outputs) { return min(at / stride, outputs - 1); }

// place_of is which row or column of a window lies so far behind its first one, or -1 for none.
__device__ __forceinline__ int place_of(int behind, int dilation) {
  if (dilation == 1) return behind;
  return behind % dilation == 0 ? behind / dilation : -1;
}
