//go:build ignore

// The arithmetic of a tensor core: mma.m16n8k8, TF32 in, FP32 out. Fasi, Higham, Mikaitis, Pranesh 2021,
// "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, found of a dot product of
// four that products are exact, that all five addends are shifted to the largest one's exponent and cut
// off there, and that the sum is cut off, not rounded. Devices differ in how many bits below the 24 they
// keep; here there are none, which is the least exact of them. k = 8 is two such steps.
//
// So with E = 2^⌊log2 max |addend|⌋ every addend is cut to a multiple of E·2^-23, the sum is exact, and is
// cut to float32.
#include "sim.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace cusim {
namespace {

float cut_to_float(double v) {
  if (fabs(v) >= 0x1p128) return v > 0 ? INFINITY : -INFINITY;
  const float f = float(v);
  return fabs(double(f)) > fabs(v) ? nextafterf(f, 0.f) : f;
}

// Where the elements of the matrices lie in the fragments: PTX ISA 8.0, "Matrix fragments for mma.m16n8k8".
float &a_at(Warp &w, int r, int k) { return w.a[(r & 7) * 4 + (k & 3)][(r >> 3) + (k >> 2) * 2]; }
float &b_at(Warp &w, int k, int n) { return w.b[n * 4 + (k & 3)][k >> 2]; }
float &d_at(Warp &w, int r, int n) { return w.d[(r & 7) * 4 + (n >> 1)][(r >> 3) * 2 + (n & 1)]; }

// cut_sum is one step, for any operands: c and four products, all exact in float64.
float cut_sum(const double (&x)[5]) {
  double largest = 0, plain = 0;
  bool finite = true;
  for (double v : x) {
    finite = finite && isfinite(v);
    plain += v;
    largest = fmax(largest, fabs(v));
  }
  if (!finite) return isnan(plain) ? __uint_as_float(0x7fffffffu) : float(plain);
  if (largest == 0) return 0.f;
  const int shift = 23 - ilogb(largest);
  double sum = 0;
  for (double v : x) sum += trunc(ldexp(v, shift));
  return cut_to_float(ldexp(sum, -shift));
}

void any_operands(Warp &w) {
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 8; ++n)
      for (int half = 0; half < 8; half += 4) {
        double x[5] = {d_at(w, r, n)};
        for (int k = 0; k < 4; ++k) x[k + 1] = double(a_at(w, r, half + k)) * double(b_at(w, half + k, n));
        d_at(w, r, n) = cut_sum(x);
      }
}

#if defined(__AVX2__)
// Range is the extent of the magnitudes seen, as bit patterns, zeros left out.
struct Range {
  __m256i low = _mm256_set1_epi32(-1), high = _mm256_setzero_si256();
  void add(__m256i magnitude) {
    high = _mm256_max_epi32(high, magnitude);
    // 0 - 1 is the largest unsigned number
    low = _mm256_min_epu32(low, _mm256_add_epi32(magnitude, _mm256_set1_epi32(-1)));
  }
  // Whether all were in [2^from, 2^to).
  bool within(int from, int to) const {
    const __m256i least = _mm256_set1_epi32(((from + 127) << 23) - 1), most = _mm256_set1_epi32(((to + 127) << 23) - 1);
    const __m256i ok_low = _mm256_cmpeq_epi32(_mm256_max_epu32(low, least), low);
    const __m256i ok_high = _mm256_cmpeq_epi32(_mm256_min_epu32(high, most), high);
    return _mm256_movemask_epi8(_mm256_and_si256(ok_low, ok_high)) == -1;
  }
};

// usual_operands does the same with eight columns in a vector of float32, and returns false, having changed
// nothing, if a magnitude is so large or small that a step of it would not be exact. It must run
// with the processor set to round toward zero: then the one inexact step, the conversion of the integer
// sum, cuts off. Products of two TF32 numbers have 22 bits, and the cut addends are integers below 2^24.
__attribute__((noinline)) bool usual_operands(Warp &w) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff), exponent = _mm256_set1_epi32(0x7f800000);
  const __m256i least = _mm256_set1_epi32(24 << 23);  // 2^-103: the smallest E whose 2^-23·E is normal
  Range operands, addends;
  for (int i = 0; i < 32; i += 2) operands.add(_mm256_and_si256(_mm256_castps_si256(_mm256_load_ps(w.a[i])), magnitude));
  for (int i = 0; i < 32; i += 4) operands.add(_mm256_and_si256(_mm256_castps_si256(_mm256_load_ps(w.b[i])), magnitude));
  if (!operands.within(-63, 62)) return false;
  // The columns are in the order 0 1 4 5 2 3 6 7, which is how unpacklo and unpackhi bring the rows g and g+8
  // out of the fragments of four lanes, and back.
  const __m256i columns = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
  __m256 b[8];
  for (int k = 0; k < 8; ++k) b[k] = _mm256_i32gather_ps(&b_at(w, k, 0), _mm256_slli_epi32(columns, 3), 4);
  __m256 rows[16];
  for (int g = 0; g < 8; ++g) {
    const __m256d low = _mm256_castps_pd(_mm256_load_ps(w.d[4 * g])), high = _mm256_castps_pd(_mm256_load_ps(w.d[4 * g + 2]));
    rows[g] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
    rows[g + 8] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
  }
  for (int r = 0; r < 16; ++r) {
    __m256 c = rows[r];
    for (int half = 0; half < 8; half += 4) {
      __m256 x[5] = {c};
      for (int k = 0; k < 4; ++k) x[k + 1] = _mm256_mul_ps(_mm256_broadcast_ss(&a_at(w, r, half + k)), b[half + k]);
      __m256i largest = _mm256_setzero_si256();  // as integers, so that NaN is the largest of all
      for (const __m256 &v : x)
        largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(v), magnitude));
      addends.add(largest);
      const __m256i e = _mm256_max_epi32(_mm256_and_si256(largest, exponent), least);
      const __m256 up = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(277 << 23), e));    // 2^23 / E
      const __m256 down = _mm256_castsi256_ps(_mm256_sub_epi32(e, _mm256_set1_epi32(23 << 23)));   // E / 2^23
      __m256i sum = _mm256_cvttps_epi32(_mm256_mul_ps(x[0], up));
      for (int i = 1; i < 5; ++i) sum = _mm256_add_epi32(sum, _mm256_cvttps_epi32(_mm256_mul_ps(x[i], up)));
      c = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), down);
    }
    rows[r] = c;
  }
  if (!addends.within(-103, 125)) return false;
  for (int g = 0; g < 8; ++g) {
    const __m256d top = _mm256_castps_pd(rows[g]), bottom = _mm256_castps_pd(rows[g + 8]);
    _mm256_store_ps(w.d[4 * g], _mm256_castpd_ps(_mm256_unpacklo_pd(top, bottom)));
    _mm256_store_ps(w.d[4 * g + 2], _mm256_castpd_ps(_mm256_unpackhi_pd(top, bottom)));
  }
  return true;
}
#endif

}  // namespace

void tensor_core(Warp &w) {
#if defined(__AVX2__)
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode | _MM_ROUND_TOWARD_ZERO);
  const bool done = usual_operands(w);
  _mm_setcsr(mode);
  if (done) return;
#endif
  any_operands(w);
}

}  // namespace cusim

// For selftest.sh, which compares the plain code with the vectors: a [16, 8], b [8, 8], d [16, 8].
extern "C" __attribute__((visibility("default"))) void cusim_mma(const float *a, const float *b, float *d, int plain) {
  using namespace cusim;
  static Warp w;
  for (int i = 0; i < 128; ++i) a_at(w, i / 8, i % 8) = a[i], d_at(w, i / 8, i % 8) = d[i];
  for (int i = 0; i < 64; ++i) b_at(w, i / 8, i % 8) = b[i];
  if (plain) any_operands(w);
  else tensor_core(w);
  for (int i = 0; i < 128; ++i) d[i] = d_at(w, i / 8, i % 8);
}
