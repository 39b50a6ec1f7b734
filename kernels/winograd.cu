// winograd: a convolution of 3×3 windows side by side by Winograd's F(2×2, 3×3), in math mode fp32.
// Every bit of it is laid down in internal/lower/winograd.go. There are three steps:
//
//	winograd_in       v[k, tile, c] = place k of the transform of the tile's 4×4 pixels
//	winograd_product  m[k, tile, o] = Σ_c v[k, tile, c]·u[k, o, c], k below 16
//	winograd_out      y = from + the tile's 2×2 outputs of m, with the bias b, then ReLU if relu
//
// x is [images, H, W, x_pitch], of which C channels count. y and from are [images, OH, OW, y_pitch],
// of which O channels count. y is 0 in the others. from is null for 0, or may be y. v is
// [16, tiles, x_pitch], with 0 in the padding. m is [16, tiles, y_pitch]. u is
// [16, y_pitch rounded up to 128, x_pitch], as the B of gemm.cuh, and b is [y_pitch].
//
// Each image has down·across tiles. Tile (i, j) of an image takes pixels from (2i - top, 2j - left)
// on, and x is 0 outside of the image. It makes the outputs from (2i, 2j) on. An output beyond OH or
// OW is left out.
//
// winograd_in and winograd_out: a thread makes one channel of a tile. The grid is
// ⌈tiles·pitch/blockDim.x⌉. Both are bound by memory, along runs of channels. A pixel of x is read
// four times, mostly from cache, and four floats of v are written for it. So are four of m read for
// an output.
//
// winograd_product: the 16 products of gemm_fp32.cuh lie side by side in one grid,
// (16·⌈y_pitch/columns⌉, ⌈tiles/128⌉). A block has 256 threads, and the last part of the name is
// how many columns its tile has. The backend takes so few images at a time that v and m mostly stay
// in the second-level cache.
//
// Truth: internal/ref conv2D. Launch: gpu/winograd.go. On the CPU: cpu/winograd.go.
#include "gemm_fp32.cuh"

constexpr int kPlaces = 16;  // of a tile's transform

// to_places transforms four numbers of a tile, a column or a row, in place.
__device__ __forceinline__ void to_places(float &d0, float &d1, float &d2, float &d3) {
  const float first = __fsub_rn(d0, d2), second = __fadd_rn(d1, d2), third = __fsub_rn(d2, d1), fourth = __fsub_rn(d3, d1);
  d0 = first, d1 = second, d2 = third, d3 = fourth;
}

// from_places makes two numbers of four places, in a column or a row.
__device__ __forceinline__ void from_places(float m0, float m1, float m2, float m3, float &y0, float &y1) {
  y0 = __fadd_rn(__fadd_rn(m0, m1), m2);
  y1 = __fadd_rn(__fsub_rn(m1, m2), m3);
}

extern "C" __global__ void __launch_bounds__(256)
winograd_in(float *__restrict__ v, const float *__restrict__ x, int tiles, int C, int pitch, int H, int W, int top, int left, int down, int across) {
  const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= (unsigned)tiles * pitch) return;
  const int c = t % pitch, tile = t / pitch;
  const int h0 = tile / across % down * 2 - top, w0 = tile % across * 2 - left;
  x += (size_t)(tile / across / down) * H * W * pitch + c;
  float d[4][4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int h = h0 + i, w = w0 + j;
      d[i][j] = c < C && h >= 0 && h < H && w >= 0 && w < W ? x[(h * W + w) * pitch] : 0.f;
    }
#pragma unroll
  for (int j = 0; j < 4; ++j) to_places(d[0][j], d[1][j], d[2][j], d[3][j]);
  v += t;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to_places(d[i][0], d[i][1], d[i][2], d[i][3]);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[(size_t)(4 * i + j) * tiles * pitch] = d[i][j];
  }
}

struct PlaceStart {
  __device__ __forceinline__ float operator()(int) const { return 0.f; }
};

struct PlaceStore {
  float *m;
  int rows, outputs, width, first;  // first is the column of the grid at which the product begins
  __device__ __forceinline__ void operator()(int row, int col, float v) const {
    col -= first;
    if (row < rows && col < width) m[(unsigned)row * width + col] = col >= outputs ? 0.f : v;
  }
};

// Product k has the blocks of columns from k·⌈width/COLUMNS⌉ on. B is moved back by what gemm.cuh
// counts before them.
#define WINOGRAD_PRODUCT(COLUMNS)                                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                                       \
      winograd_product_fp32_##COLUMNS(float *__restrict__ m, const float *__restrict__ v, const float *__restrict__ u,       \
                                      int tiles, int depth, int outputs, int width) {                                        \
    DYNAMIC_SHARED(shared);                                                                                                  \
    const int blocks = (width + COLUMNS - 1) / COLUMNS, k = blockIdx.x / blocks, first = k * blocks * COLUMNS;               \
    const long long before = (long long)k * ((width + 127) / 128 * 128) - first;                                             \
    gemm_fp32_tile<COLUMNS>(shared, v + (size_t)k * tiles * depth, u + before * depth, tiles, depth, PlaceStart{},           \
                            PlaceStore{m + (size_t)k * tiles * width, tiles, outputs, width, first});                        \
  }

WINOGRAD_PRODUCT(128)
WINOGRAD_PRODUCT(64)
WINOGRAD_PRODUCT(32)

extern "C" __global__ void __launch_bounds__(256)
winograd_out(float *y, const float *from, const float *__restrict__ m, const float *__restrict__ b, int relu, int tiles, int O, int pitch, int OH, int OW,
             int down, int across) {
  const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= (unsigned)tiles * pitch) return;
  const int o = t % pitch, tile = t / pitch;
  const int h0 = tile / across % down * 2, w0 = tile % across * 2;
  const size_t at = (((size_t)(tile / across / down) * OH + h0) * OW + w0) * pitch + o;
  float s[2][4], out[2][2] = {};
  if (o < O) {
    m += t;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float p[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) p[i] = m[(size_t)(4 * i + j) * tiles * pitch];
      from_places(p[0], p[1], p[2], p[3], s[0][j], s[1][j]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) from_places(s[i][0], s[i][1], s[i][2], s[i][3], out[i][0], out[i][1]);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (h0 + i >= OH || w0 + j >= OW) continue;
      const size_t place = at + (size_t)(i * OW + j) * pitch;
      float v = out[i][j];
      if (o < O) {
        v = __fadd_rn(v, b[o]);
        if (relu && v < 0.f) v = 0.f;  // NaN stays
        if (from != nullptr) v = __fadd_rn(from[place], v);
      }
      y[place] = v;
    }
}
