//go:build ignore

// The device side of the simulator: what a .cu file sees when g++ compiles it for the host. There is
// one fiber per CUDA thread and one block at a time, all on one OS thread, so that plain globals can
// carry the identity of the running thread.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <tuple>
#include <type_traits>
#include <utility>

// gen.sh looks for the marker in the preprocessed text; by then __launch_bounds__ has vanished.
#if defined(CUSIM_LIST_KERNELS)
#define __global__ cusim_kernel_marker
#else
#define __global__ __attribute__((visibility("hidden")))
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
#define __grid_constant__
// Static shared memory goes into one section, so that the simulator knows where it is and can fill it
// with NaN before every block. Under ASan it stays an ordinary static, which gets a red zone.
#if defined(CUSIM_ASAN)
#define __shared__ static
#else
#define __shared__ static __attribute__((section("cusim_shared")))
#endif

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(4) char4 { signed char x, y, z, w; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline char4 make_char4(signed char x, signed char y, signed char z, signed char w) { return {x, y, z, w}; }
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

namespace cusim {

// What the lanes of a warp meet for.
enum class Meet : uint32_t { kSync, kShuffle, kVote, kAdd, kMin, kMax, kAnd, kOr, kXor, kMma };

// Warp is where lanes leave what a warp-wide operation takes and find what it gives. The last lane to
// arrive computes for all of them, so that an operation costs one rendezvous. A lane writes and reads
// only its own slots: it may go on to its next operation before the others have picked up this one's.
struct alignas(64) Warp {
  float a[32][4], d[32][4], b[32][2];  // of mma: the fragments, by lane
  uint64_t value[32], result[32];
  uint8_t source[32];                  // of a shuffle: the lane read
  uint64_t key[32];                    // operation and mask of a waiting lane
  unsigned exists, arrived, left;      // sets of lanes; arrived are those that wait
  unsigned phase;
  char token[2];                       // happens-before, for TSan
};

struct Thread {
  uint3 tid;
  unsigned lane;
  Warp *warp;
};
extern Thread *cur;
extern dim3 block_dim, grid_dim;
extern uint3 block_idx;

// meet returns once all lanes of mask have called it for the same operation and it has been done.
void meet(Meet op, unsigned mask);
// sync_block is __syncthreads and its kin; sum, any and all reduce p over the block's threads.
struct BlockVote { int sum, any, all; };
BlockVote sync_block(int line, int p);
void *dyn_shared();
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

template <class T> T shuffle(unsigned mask, T v, unsigned from) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a shuffle moves one plain word");
  Warp &w = *cur->warp;
  const unsigned lane = cur->lane;
  w.value[lane] = 0;
  memcpy(&w.value[lane], &v, sizeof v);
  w.source[lane] = from & 31;
  meet(Meet::kShuffle, mask);
  T r;
  memcpy(&r, &w.result[lane], sizeof r);
  return r;
}

template <class T> T reduce(Meet op, unsigned mask, T v) {
  Warp &w = *cur->warp;
  const unsigned lane = cur->lane;
  w.value[lane] = uint64_t(int64_t(v));  // keeps the order of signed and of unsigned values as int64
  meet(op, mask);
  return T(w.result[lane]);
}

// cp.async. A copy is held back until the wait that covers its group, so a missing wait shows as NaN.
// The copying is done here, in the kernel's translation unit, where TSan and ASan see it.
struct Copy { void *smem; const void *gmem; };  // gmem null: 16 zero bytes
struct Copies { const Copy *first; size_t n; };
void cp_async16(void *smem, const void *gmem, bool valid);
void cp_async_commit();
Copies cp_async_due(int pending);
void cp_async_done(size_t n);
inline void cp_async_wait(int pending) {
  const Copies due = cp_async_due(pending);
  for (size_t i = 0; i < due.n; ++i) {
    const Copy &c = due.first[i];
    *static_cast<float4 *>(c.smem) = c.gmem ? *static_cast<const float4 *>(c.gmem) : float4{0, 0, 0, 0};
  }
  if (due.n) cp_async_done(due.n);
}

// d ← a·b + d, mma.m16n8k8 for TF32. mma.cpp knows which elements the fragments hold.
inline void mma_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  // The hardware ignores these bits; we require that the kernel has rounded, and so knows the error.
  if ((a[0] | a[1] | a[2] | a[3] | b[0] | b[1]) & 0x1fff)
    fail("mma: an operand is no TF32 number: %08x %08x %08x %08x, %08x %08x", a[0], a[1], a[2], a[3], b[0], b[1]);
  Warp &w = *cur->warp;
  const unsigned lane = cur->lane;
  memcpy(w.a[lane], a, sizeof a);
  memcpy(w.b[lane], b, sizeof b);
  memcpy(w.d[lane], d, sizeof d);
  meet(Meet::kMma, 0xffffffffu);
  memcpy(d, w.d[lane], sizeof d);
}

// Kernel is a kernel as the driver side sees it. A template takes the parameters from the C++ type of
// the function, so that nobody declares them twice.
struct Kernel {
  const char *name;
  int params;
  const size_t *sizes;            // of each parameter
  const bool *pointers;           // which of them are pointers
  void *(*pack)(void **params);   // copies the arguments
  void (*call)(void *packed);
  void (*drop)(void *packed);
  Kernel *next;
};
extern Kernel *kernels;

template <class... A> struct Binder {
  using Pack = std::tuple<std::remove_cv_t<A>...>;
  template <size_t... I> static Pack *make([[maybe_unused]] void **p, std::index_sequence<I...>) {
    return new Pack(*static_cast<std::remove_cv_t<A> *>(p[I])...);
  }
  static void *pack(void **p) { return make(p, std::index_sequence_for<A...>{}); }
  static void drop(void *p) { delete static_cast<Pack *>(p); }
  template <void (*F)(A...)> static void call(void *p) { std::apply(F, *static_cast<Pack *>(p)); }
};
template <class F> struct Signature;
template <class... A> struct Signature<void(A...)> {
  template <void (*F)(A...)> static Kernel kernel(const char *name) {
    static const size_t sizes[] = {sizeof(A)..., 0};
    static const bool pointers[] = {std::is_pointer<A>::value..., false};
    using B = Binder<A...>;
    return {name, int(sizeof...(A)), sizes, pointers, B::pack, B::template call<F>, B::drop, nullptr};
  }
};
struct Registrar {
  Kernel k;
  explicit Registrar(Kernel v) : k(v) { k.next = kernels; kernels = &k; }
};
#define CUSIM_KERNEL(f) \
  static cusim::Registrar cusim_register_##f(cusim::Signature<decltype(f)>::template kernel<f>(#f));

}  // namespace cusim

#define threadIdx (cusim::cur->tid)
#define blockIdx (cusim::block_idx)
#define blockDim (cusim::block_dim)
#define gridDim (cusim::grid_dim)
#define warpSize 32

// The line of the call tells barriers apart: __builtin_LINE in a default argument is the caller's.
inline void __syncthreads(int line = __builtin_LINE()) { cusim::sync_block(line, 0); }
inline int __syncthreads_count(int p, int line = __builtin_LINE()) { return cusim::sync_block(line, p).sum; }
inline int __syncthreads_or(int p, int line = __builtin_LINE()) { return cusim::sync_block(line, p).any; }
inline int __syncthreads_and(int p, int line = __builtin_LINE()) { return cusim::sync_block(line, p).all; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { cusim::meet(cusim::Meet::kSync, mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  return cusim::shuffle(mask, v, (cusim::cur->lane & ~(width - 1)) | (from & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
  const unsigned l = cusim::cur->lane, from = l ^ unsigned(bits);
  return cusim::shuffle(mask, v, from < (l & ~(width - 1)) + width ? from : l);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned l = cusim::cur->lane;
  return cusim::shuffle(mask, v, (l & (width - 1)) + by < unsigned(width) ? l + by : l);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned l = cusim::cur->lane;
  return cusim::shuffle(mask, v, (l & (width - 1)) >= by ? l - by : l);
}
inline unsigned __ballot_sync(unsigned mask, int p) {
  return cusim::reduce<unsigned>(cusim::Meet::kVote, mask, p != 0);
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
inline int __reduce_add_sync(unsigned m, int v) { return cusim::reduce(cusim::Meet::kAdd, m, v); }
inline int __reduce_min_sync(unsigned m, int v) { return cusim::reduce(cusim::Meet::kMin, m, v); }
inline int __reduce_max_sync(unsigned m, int v) { return cusim::reduce(cusim::Meet::kMax, m, v); }
inline unsigned __reduce_add_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kAdd, m, v); }
inline unsigned __reduce_min_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kMin, m, v); }
inline unsigned __reduce_max_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kMax, m, v); }
inline unsigned __reduce_and_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kAnd, m, v); }
inline unsigned __reduce_or_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kOr, m, v); }
inline unsigned __reduce_xor_sync(unsigned m, unsigned v) { return cusim::reduce(cusim::Meet::kXor, m, v); }

// Atomics on integers only. There is no atomicAdd on floats: its sums depend on the order in which
// blocks run, and a result here may not depend on the run.
namespace cusim {
template <class T, class F> T atomic_update(T *p, F f) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(p, &old, f(old), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}
}  // namespace cusim
#define CUSIM_ATOMICS(T)                                                                              \
  inline T atomicAdd(T *p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }                \
  inline T atomicOr(T *p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }                  \
  inline T atomicAnd(T *p, T v) { return __atomic_fetch_and(p, v, __ATOMIC_RELAXED); }                \
  inline T atomicExch(T *p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }              \
  inline T atomicMin(T *p, T v) { return cusim::atomic_update(p, [=](T o) { return o < v ? o : v; }); } \
  inline T atomicMax(T *p, T v) { return cusim::atomic_update(p, [=](T o) { return o > v ? o : v; }); } \
  inline T atomicCAS(T *p, T old, T v) {                                                              \
    __atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);               \
    return old;                                                                                       \
  }
CUSIM_ATOMICS(int)
CUSIM_ATOMICS(unsigned)
CUSIM_ATOMICS(unsigned long long)
#undef CUSIM_ATOMICS

// Arithmetic. The build forbids g++ to contract a*b+c, so these are what they say.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }

namespace cusim {
template <class To, class From> To bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To r;
  memcpy(&r, &v, sizeof r);
  return r;
}
}  // namespace cusim
inline unsigned __float_as_uint(float v) { return cusim::bits<unsigned>(v); }
inline int __float_as_int(float v) { return cusim::bits<int>(v); }
inline float __uint_as_float(unsigned v) { return cusim::bits<float>(v); }
inline float __int_as_float(int v) { return cusim::bits<float>(v); }
inline long long __double_as_longlong(double v) { return cusim::bits<long long>(v); }
inline double __longlong_as_double(long long v) { return cusim::bits<double>(v); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
inline int __float2int_rn(float v) { return int(lrintf(v)); }
inline int __float2int_rz(float v) { return int(v); }
inline float __int2float_rn(int v) { return float(v); }
inline float __uint2float_rn(unsigned v) { return float(v); }

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> void __stcg(T *p, T v) { *p = v; }
template <class T> void __stcs(T *p, T v) { *p = v; }

// g++ calls the C library for these two, for the sake of NaN; the step kernels do little else.
namespace cusim {
inline float least(float a, float b) { return a < b || b != b ? a : b; }
inline float greatest(float a, float b) { return a > b || b != b ? a : b; }
}  // namespace cusim
#define fminf cusim::least
#define fmaxf cusim::greatest

// CUDA's min and max take two different types; std::min and std::max do not.
template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) return T(a) < T(b) || T(b) != T(b) ? T(a) : T(b);
  else return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point<T>::value) return T(a) > T(b) || T(b) != T(b) ? T(a) : T(b);
  else return T(a) < T(b) ? T(b) : T(a);
}
