// selftest LIB.so all|rates|good|race: checks the simulator. "all" plants every fault; "good" runs what must be
// clean under sanitizers; "race" is the missing barrier, for TSan to find.
#include <signal.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "driver.h"

namespace {

int failures;
#define EXPECT(condition, ...)                                       \
  do {                                                               \
    if (!(condition)) {                                              \
      if (++failures > 20) exit(1);                                  \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      fprintf(stderr, "" __VA_ARGS__);                               \
      fputc('\n', stderr);                                           \
    }                                                                \
  } while (0)
#define EXPECT_EQ(got, want)                                                                            \
  do {                                                                                                  \
    const long got_ = long(got), want_ = long(want);                                                    \
    EXPECT(got_ == want_, "got %ld, want %ld; last fault: %s", got_, want_, cusim_log());                \
  } while (0)

const char *const kElf = "\177ELF any";     // as a cubin: every kernel of the sources is in it

// Session is a device with everything loaded, as a program would have it.
struct Session {
  void *context, *module, *stream;
  int device;
  explicit Session(int d = 0) : device(d) {
    EXPECT_EQ(cuDevicePrimaryCtxRetain(&context, d), 0);
    EXPECT_EQ(cuCtxSetCurrent(context), 0);
    EXPECT_EQ(cuModuleLoadData(&module, kElf), 0);
    EXPECT_EQ(cuStreamCreate(&stream, 1), 0);
  }
  ~Session() {
    cuStreamDestroy_v2(stream);
    cuModuleUnload(module);
    EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(device), 0);
  }
  void *function(const char *name) {
    void *f = nullptr;
    EXPECT(cuModuleGetFunction(&f, module, name) == 0, "no kernel %s", name);
    return f;
  }
  template <class... A> int launch(const char *name, unsigned blocks, unsigned threads, unsigned shared, A... args) {
    void *p[] = {&args..., nullptr};
    return cuLaunchKernel(function(name), blocks, 1, 1, threads, 1, 1, shared, stream, p, nullptr);
  }
  int wait() { return cuStreamSynchronize(stream); }
};

template <class T> struct Buffer {
  Pointer p = 0;
  size_t n;
  explicit Buffer(size_t count) : n(count) { EXPECT_EQ(cuMemAlloc_v2(&p, n * sizeof(T)), 0); }
  explicit Buffer(const std::vector<T> &v) : Buffer(v.size()) { EXPECT_EQ(cuMemcpyHtoD_v2(p, v.data(), n * sizeof(T)), 0); }
  Buffer(const Buffer &) = delete;
  ~Buffer() { cuMemFree_v2(p); }
  std::vector<T> get() {
    std::vector<T> v(n);
    EXPECT_EQ(cuMemcpyDtoH_v2(v.data(), p, n * sizeof(T)), 0);
    return v;
  }
};

std::vector<float> ramp(size_t n) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i) v[i] = float(i);
  return v;
}
bool has_nan(const std::vector<float> &v) {
  for (float f : v) if (std::isnan(f)) return true;
  return false;
}

// fault runs a launch that must fail with code and a text.
void fault(int code, const char *text, const std::function<void(Session &)> &run) {
  {
    Session s;
    run(s);
    EXPECT_EQ(s.wait(), code);
    EXPECT(strstr(cusim_log(), text), "want \"%s\" in \"%s\"", text, cusim_log());
    const char *string = nullptr;
    EXPECT_EQ(cuGetErrorString(code, &string), 0);
    EXPECT(string && strstr(string, text), "cuGetErrorString gives \"%s\"", string);
    EXPECT_EQ(cuCtxSynchronize(), code);    // it stays
    Pointer p;
    EXPECT_EQ(cuMemAlloc_v2(&p, 16), code);
  }
  cusim_reset();
}

// ---- kernels without a fault

void good_kernels() {
  Session s;
  {
    Buffer<float> x(ramp(1000));
    EXPECT_EQ(s.launch("add_one", 4, 256, 0, x.p, 1000), 0);
    EXPECT_EQ(s.wait(), 0);
    const auto v = x.get();
    for (size_t i = 0; i < v.size(); ++i) EXPECT(v[i] == float(i) + 1, "add_one: x[%zu] = %g", i, v[i]);
    EXPECT_EQ(s.launch("add_one", 1, 257, 0, x.p, 1000), 0);  // no PTX, so no launch bounds
    EXPECT_EQ(s.launch("add_one", 1, 1025, 0, x.p, 1000), 1);
    EXPECT_EQ(s.launch("add_one", 0, 1, 0, x.p, 1000), 1);
  }
  {
    Buffer<float> x(ramp(512));
    EXPECT_EQ(s.launch("reverse", 1, 256, 0, x.p, 1), 0);
    EXPECT_EQ(s.launch("reverse", 1, 256, 0, x.p, 1), 0);
    EXPECT_EQ(s.launch("reverse_twice", 1, 256, 0, x.p, 1), 0);
    EXPECT_EQ(s.launch("warp_exchange", 1, 32, 0, x.p, 1), 0);
    EXPECT_EQ(s.wait(), 0);
    const auto v = x.get();
    for (size_t i = 0; i < 512; ++i) {
      const size_t j = i < 32 ? 31 - i : i;
      EXPECT(v[i] == float(j < 256 ? 255 - j : 767 - j), "reverse: x[%zu] = %g", i, v[i]);
    }
  }
  {
    Buffer<float> in(ramp(256)), out(384);
    EXPECT_EQ(s.launch("copy_async", 1, 32, 0, in.p, out.p, 2, 1), 0);
    EXPECT_EQ(s.wait(), 0);
    const auto v = out.get();
    for (size_t i = 0; i < 384; ++i) {
      const float want = i < 128 ? float(127 - i) : i < 256 ? float(383 - i) : 0.f;
      EXPECT(v[i] == want, "copy_async: out[%zu] = %g, want %g", i, v[i], want);
    }
  }
  {
    const int n = 64;
    Buffer<int> out(std::vector<int>(14 * n, 0));
    EXPECT_EQ(s.launch("warp_ops", 1, unsigned(n), 0, out.p), 0);
    EXPECT_EQ(s.wait(), 0);
    const auto v = out.get();
    for (int t = 0; t < n; ++t) {
      const int lane = t & 31, base = t & ~31;
      unsigned ballot = 0;
      for (int i = 0; i < 32; ++i) ballot |= unsigned((base + i) % 3 == 0) << i;
      const int want[] = {t ^ 3, lane + 5 < 32 ? t + 5 : t, (t & 15) >= 5 ? t - 5 : t, (t & ~15) | 9, int(ballot),
                          base == 32, base == 0, 32 * (base - 20) + 496, base - 20, base + 31 - 50,
                          lane < 16 ? t ^ 1 : t ^ 2, 13, 2};
      for (int i = 0; i < 13; ++i)
        EXPECT(v[size_t(i * n + t)] == want[i], "warp_ops: row %d, thread %d: %d, want %d", i, t, v[size_t(i * n + t)], want[i]);
    }
    EXPECT_EQ(v[13 * n], 2016);
    EXPECT_EQ(v[13 * n + 1], 63);
    EXPECT_EQ(v[13 * n + 2], -7);
    EXPECT_EQ(v[13 * n + 3], -1);
  }
}

// ---- mma

float tf32(float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  u &= ~0x1fffu;
  memcpy(&v, &u, 4);
  return v;
}

void mma_layout() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Session s;
  std::vector<float> a(128), b(64), c(128);
  for (float &v : a) v = tf32(normal(random));
  for (float &v : b) v = tf32(normal(random));
  for (float &v : c) v = normal(random);
  Buffer<float> pa(a), pb(b), pd(c);
  EXPECT_EQ(s.launch("one_mma", 1, 32, 0, pa.p, pb.p, pd.p), 0);
  EXPECT_EQ(s.wait(), 0);
  const auto got = pd.get();
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 8; ++n) {
      double want = c[size_t(r * 8 + n)], scale = fabs(want);
      for (int k = 0; k < 8; ++k) {
        const double p = double(a[size_t(r * 8 + k)]) * b[size_t(k * 8 + n)];
        want += p;
        scale += fabs(p);
      }
      // two steps, each of five cuts and one more, each below 2^-23 of the largest
      const double d = got[size_t(r * 8 + n)];
      EXPECT(fabs(d - want) <= 12 * 0x1p-23 * scale, "mma [%d, %d]: %g, want %g", r, n, d, want);
    }
}

// The vector code against the plain code, bit by bit, in all ranges; and the plain code's own rules.
void mma_arithmetic() {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  auto exponent = [&](int spread) { return spread ? int(random() % unsigned(2 * spread)) - spread : 0; };
  const int spreads[] = {0, 3, 12, 40, 62, 75, 126, 149};
  for (int spread : spreads)
    for (int round = 0; round < 60; ++round) {
      float a[128], b[64], c[128], plain[128], fast[128];
      for (float &v : a) v = random() % 4 ? tf32(ldexpf(normal(random), exponent(spread))) : 0.f;
      for (float &v : b) v = tf32(ldexpf(normal(random), exponent(spread)));
      for (float &v : c) v = random() % 4 ? ldexpf(normal(random), exponent(spread)) : 0.f;
      if (round % 10 == 9) a[random() % 128] = round % 20 == 9 ? INFINITY : NAN, c[random() % 128] = -INFINITY;
      memcpy(plain, c, sizeof c);
      memcpy(fast, c, sizeof c);
      cusim_mma(a, b, plain, 1);
      cusim_mma(a, b, fast, 0);
      EXPECT(!memcmp(plain, fast, sizeof plain), "mma: vector and plain code differ, spread %d", spread);
    }
  struct { float c, a[8], b, want; } cases[] = {
      {1.f, {0x1p-24f, 0x1p-24f, 0x1p-24f, 0x1p-24f}, 1.f, 1.f},               // all cut off, though their sum is 2^-22
      {0.f, {1.f, 0x1p-23f, 0x1p-24f, 0x1p-24f}, 1.f, 1.f + 0x1p-23f},
      {0x1p-24f, {0, 0, 0, 0, 1.f}, 1.f, 1.f},                                 // the same in the second step
      {-1.f, {0x1.8p-24f}, 1.f, -1.f},                                         // toward zero from below as well
      {0x1.fffffep0f, {0x1p-23f, 0, 0, 0}, 1.f, 2.f},
      {0x1.fffffep0f, {1.f, 1.f, 0, 0}, 1.f, 0x1.fffffep1f},                   // 3.9999999 needs 25 bits: cut
      {0x1p-149f, {0}, 1.f, 0x1p-149f},
      {0x1.fffffep127f, {0x1p127f}, 1.f, INFINITY},
      {INFINITY, {-1.f}, 1.f, INFINITY},
  };
  for (auto &x : cases) {
    float a[128] = {}, b[64] = {}, d[128] = {};
    memcpy(a, x.a, sizeof x.a);
    for (int k = 0; k < 8; ++k) b[k * 8] = x.b;
    d[0] = x.c;
    for (int plain = 0; plain < 2; ++plain) {
      float e[128];
      memcpy(e, d, sizeof e);
      cusim_mma(a, b, e, plain);
      EXPECT(e[0] == x.want, "mma case %d, plain=%d: %a, want %a", int(&x - cases), plain, e[0], x.want);
    }
  }
}

// ---- planted faults

void planted_faults() {
  {
    Session s;
    Buffer<float> x(ramp(512)), in(ramp(256)), out(384);
    s.launch("reverse", 1, 256, 0, x.p, 0);
    EXPECT(has_nan(x.get()) || s.wait() || has_nan(x.get()), "a missing barrier went unseen");
  }
  {
    Session s;
    Buffer<float> x(ramp(512));
    s.launch("reverse_twice", 1, 256, 0, x.p, 0);
    s.wait();
    const auto v = x.get();
    bool right = true;
    for (size_t i = 0; i < 512; ++i) right = right && v[i] == float(i < 256 ? 255 - i : 767 - i);
    EXPECT(!right, "a missing second barrier went unseen");
  }
  {
    Session s;
    Buffer<float> x(ramp(32));
    s.launch("warp_exchange", 1, 32, 0, x.p, 0);
    s.wait();
    EXPECT(has_nan(x.get()), "a missing __syncwarp went unseen");
  }
  {
    Session s;
    Buffer<float> in(ramp(256)), out(384);
    s.launch("copy_async", 1, 32, 0, in.p, out.p, -1, 1);   // no wait before the first tile
    EXPECT_EQ(s.wait(), 0);
    EXPECT(has_nan(out.get()), "a missing cp.async wait went unseen");
    s.launch("copy_async", 1, 32, 0, in.p, out.p, 3, 1);    // one group too many left in flight
    EXPECT_EQ(s.wait(), 0);
    EXPECT(has_nan(out.get()), "a cp.async wait for too little went unseen");
  }
  fault(719, "never waited for", [](Session &s) {
    static Pointer in, out;
    cuMemAlloc_v2(&in, 1024);
    cuMemAlloc_v2(&out, 1536);
    s.launch("copy_async", 1, 32, 0, in, out, 3, 0);
  });
  fault(719, "different __syncthreads: lines", [](Session &s) { s.launch("divergent", 1, 64, 0, 1); });
  fault(719, "left the kernel while others wait at __syncthreads", [](Session &s) { s.launch("divergent", 1, 64, 0, 0); });
  fault(719, "1 threads left the kernel", [](Session &s) { s.launch("early_exit", 2, 64, 0); });
  fault(719, "left the kernel", [](Session &s) { s.launch("dead_lane", 1, 32, 0); });
  fault(719, "deadlock", [](Session &s) { s.launch("deadlock", 1, 32, 0); });
  fault(719, "mask", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 128);
    s.launch("wrong_shuffle", 1, 16, 0, p);
  });
  fault(719, "no TF32 number", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 512);                 // all NaN, with every bit set
    s.launch("one_mma", 1, 32, 0, p, p, p);
  });
  fault(700, "bytes into an allocation of 4096", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 4096);
    s.launch("out_of_bounds", 1, 1, 0, p, 1024);
  });
  fault(700, "kernel out_of_bounds, block (0,0,0), thread (0,0,0)", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 4096);
    s.launch("out_of_bounds", 1, 1, 0, p, -1);
  });
  fault(700, "wrote outside an allocation of 4 bytes", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 4);
    s.launch("out_of_bounds", 1, 1, 0, p, 1);
  });
  fault(700, "wrote outside an allocation of 64 bytes", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    s.launch("out_of_bounds", 1, 1, 0, p, -1);
  });
  fault(700, "illegal address", [](Session &s) {
    Pointer p, q;
    cuMemAlloc_v2(&p, 64);
    cuMemAlloc_v2(&q, 64);
    s.launch("read_out_of_bounds", 1, 1, 0, p, q, 16);
  });
  fault(700, "not device memory", [](Session &s) {
    static float x[4];
    s.launch("out_of_bounds", 1, 1, 0, Pointer(uintptr_t(x)), 0);
  });
  fault(700, "or no longer", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    cuMemFree_v2(p);
    s.launch("out_of_bounds", 1, 1, 0, p, 0);
  });
  fault(700, "outside its dynamic shared memory", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    s.launch("dynamic_overrun", 1, 1, 100, p, -1);
  });
  fault(700, "dynamic shared memory of 112", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    s.launch("dynamic_overrun", 1, 1, 100, p, 28);
  });
  fault(700, "stack", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    s.launch("deep_stack", 1, 1, 0, p);
  });
#if defined(__x86_64__)
  fault(716, "misaligned", [](Session &s) {
    Pointer p;
    cuMemAlloc_v2(&p, 64);
    s.launch("misaligned", 1, 1, 0, p);
  });
#endif
}

// ---- the driver

void deferred_work() {
  Session s;
  void *host, *other, *event;
  EXPECT_EQ(cuMemAllocHost_v2(&host, 1024), 0);
  float *h = static_cast<float *>(host);
  EXPECT(std::isnan(h[0]), "fresh pinned memory is not NaN");
  {
    Buffer<float> x(ramp(256));
    EXPECT_EQ(cuMemcpyDtoHAsync_v2(host, x.p, 1024, s.stream), 0);
    EXPECT(std::isnan(h[5]), "an asynchronous copy was done before the wait");
    EXPECT_EQ(s.wait(), 0);
    EXPECT(h[5] == 5, "h[5] = %g", h[5]);
    // A pinned source is read late.
    EXPECT_EQ(cuMemcpyHtoDAsync_v2(x.p, host, 1024, s.stream), 0);
    h[5] = 7;
    EXPECT_EQ(s.wait(), 0);
    EXPECT(x.get()[5] == 7, "a pinned source was read at the call");
    // One stream waits for the other's event, and only thereby for its work.
    EXPECT_EQ(cuStreamCreate(&other, 1), 0);
    EXPECT_EQ(cuEventCreate(&event, 0), 0);
    EXPECT_EQ(s.launch("add_one", 1, 256, 0, x.p, 256), 0);
    EXPECT_EQ(cuEventRecord(event, s.stream), 0);
    EXPECT_EQ(cuEventQuery(nullptr), 400);
    EXPECT_EQ(cuMemcpyDtoHAsync_v2(host, x.p, 1024, other), 0);
    EXPECT_EQ(cuStreamSynchronize(other), 0);
    EXPECT(h[5] == 7, "a stream waited for another without an event");
    EXPECT_EQ(cuStreamWaitEvent(other, event, 0), 0);
    EXPECT_EQ(cuMemcpyDtoHAsync_v2(host, x.p, 1024, other), 0);
    EXPECT_EQ(cuStreamSynchronize(other), 0);
    EXPECT(h[5] == 8, "a stream did not wait for an event: %g", h[5]);
    float ms = -1;
    EXPECT_EQ(cuEventElapsedTime(&ms, event, event), 0);
    EXPECT(ms == 0, "elapsed %g", ms);
    h[5] = -1;                              // the end of a stream is no wait
    EXPECT_EQ(cuMemcpyDtoHAsync_v2(host, x.p, 1024, other), 0);
    EXPECT_EQ(cuStreamDestroy_v2(other), 0);
    EXPECT(h[5] == -1, "cuStreamDestroy waited");
    EXPECT_EQ(cuCtxSynchronize(), 0);
    EXPECT(h[5] == 8, "the work of a destroyed stream was lost");
    EXPECT_EQ(cuStreamSynchronize(other), 400);
    EXPECT_EQ(cuEventDestroy_v2(event), 0);
    EXPECT_EQ(cuEventDestroy_v2(event), 400);
  }
  EXPECT_EQ(cuMemFreeHost(host), 0);
  EXPECT_EQ(cuMemFreeHost(host), 1);
  std::thread([] { EXPECT_EQ(cuCtxSynchronize(), 201); }).join();   // no context on this thread
}

void devices_and_leaks() {
  int n, v;
  EXPECT_EQ(cuDeviceGetCount(&n), 0);
  EXPECT_EQ(n, 2);
  EXPECT_EQ(cuDeviceGetAttribute(&v, 76, 1), 0);
  EXPECT_EQ(v, 6);
  const long live = cusim_live(), leaked = cusim_leaked();
  void *stale;
  {
    Session a(0), b(1);                     // b's context is current
    stale = a.context;
    Pointer p, q;
    EXPECT_EQ(cuMemAlloc_v2(&q, 1 << 20), 0);
    EXPECT_EQ(cusim_live(), live + 7);
    EXPECT_EQ(cuStreamSynchronize(a.stream), 400);
    EXPECT_EQ(cuCtxSetCurrent(a.context), 0);
    EXPECT_EQ(cuMemAlloc_v2(&p, 64), 0);
    EXPECT_EQ(cuMemFree_v2(q), 1);
    EXPECT_EQ(cuMemcpyDtoD_v2(p, q, 64), 1);
    EXPECT_EQ(a.launch("add_one", 1, 1, 0, q, 1), 1);
    size_t available, total;
    EXPECT_EQ(cuMemGetInfo_v2(&available, &total), 0);
    EXPECT_EQ(total - available, 64);
    EXPECT_EQ(cuMemAlloc_v2(&q, total), 2);
    EXPECT_EQ(cuMemAlloc_v2(&q, total - 64), 0);   // gigabytes, untouched
    float f;
    EXPECT_EQ(cuMemcpyDtoH_v2(&f, q + (total >> 1), 4), 0);
    EXPECT(std::isnan(f), "large memory is not NaN");
    EXPECT_EQ(cuMemFree_v2(q), 0);
    EXPECT_EQ(cuMemFree_v2(p), 0);
    EXPECT_EQ(cuCtxSetCurrent(b.context), 0);
    // A's are leaked by the end of b first: the destructor of b runs with b's context, that of a as well.
  }
  EXPECT_EQ(cusim_leaked(), leaked + 1 + 2);       // b's memory; a's stream and module
  EXPECT_EQ(cusim_live(), live);
  EXPECT_EQ(cuCtxSynchronize(), 201);
  EXPECT_EQ(cuCtxSetCurrent(stale), 201);
  EXPECT_EQ(cuCtxSetCurrent(nullptr), 0);
  // Nested retains: only the last release ends it.
  void *c;
  EXPECT_EQ(cuDevicePrimaryCtxRetain(&c, 0), 0);
  EXPECT_EQ(cuDevicePrimaryCtxRetain(&c, 0), 0);
  EXPECT_EQ(cuCtxSetCurrent(c), 0);
  EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), 0);
  EXPECT_EQ(cuCtxSynchronize(), 0);
  EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), 0);
  EXPECT_EQ(cuCtxSynchronize(), 201);
  EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), 201);
}

void injection() {
  const long leaked = cusim_leaked(), live = cusim_live();
  {
    Session s;
    Pointer p = 0;
    const long before = cusim_calls();
    cusim_fail(2, 2);
    EXPECT_EQ(cuMemAlloc_v2(&p, 64), 0);
    EXPECT_EQ(cuMemsetD32_v2(p, 0, 16), 2);        // the second call
    EXPECT_EQ(cusim_calls(), before + 2);
    EXPECT(!strcmp(cusim_failed_call(), "cuMemsetD32_v2"), "%s", cusim_failed_call());
    EXPECT_EQ(cuMemsetD32_v2(p, 0, 16), 0);        // and not the third
    cusim_fail(1, 719);
    EXPECT_EQ(cuMemFree_v2(p), 719);               // sticky, and freed all the same
    EXPECT_EQ(cuCtxSynchronize(), 719);
  }
  EXPECT_EQ(cusim_leaked(), leaked);
  EXPECT_EQ(cusim_live(), live);
  {
    Session s;                                     // a new context is clean
    Buffer<float> x(ramp(8));
    const long n = cusim_launches(), m = cusim_launches_of("add_one");
    cusim_fail_async(2, 700);
    EXPECT_EQ(s.launch("add_one", 1, 8, 0, x.p, 8), 0);
    EXPECT_EQ(s.wait(), 0);
    EXPECT_EQ(s.launch("add_one", 1, 8, 0, x.p, 8), 0);
    EXPECT_EQ(s.wait(), 700);
    EXPECT_EQ(s.wait(), 700);
    EXPECT_EQ(cusim_launches(), n + 2);
    EXPECT_EQ(cusim_launches_of("add_one"), m + 2);
  }
  EXPECT_EQ(cusim_leaked(), leaked);               // the memory's free failed, but freed
  cusim_reset();
  cusim_fail(1, 700);
  cusim_fail(0, 0);
  void *c;
  EXPECT_EQ(cuDevicePrimaryCtxRetain(&c, 0), 0);
  EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), 0);
  const char *name;
  EXPECT_EQ(cuGetErrorName(2, &name), 0);
  EXPECT(!strcmp(name, "CUDA_ERROR_OUT_OF_MEMORY"), "%s", name);
}

void capture() {
  Session s;
  Buffer<float> x(ramp(8));
  void *g = nullptr, *exec = nullptr;
  EXPECT_EQ(cuStreamBeginCapture_v2(s.stream, 1), 0);
  const long n = cusim_launches();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(s.launch("add_one", 1, 8, 0, x.p, 8), 0);
  EXPECT_EQ(cusim_launches(), n);
  EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 0);
  EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, g, 0), 0);
  EXPECT_EQ(cuGraphDestroy(g), 0);
  EXPECT(x.get()[1] == 1, "a captured launch ran");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(cuGraphLaunch(exec, s.stream), 0);
  EXPECT_EQ(s.wait(), 0);
  EXPECT(x.get()[1] == 7, "after two replays of three launches: %g", x.get()[1]);
  EXPECT_EQ(cusim_launches(), n + 6);
  EXPECT_EQ(cuGraphExecDestroy(exec), 0);
  EXPECT_EQ(cuGraphLaunch(exec, s.stream), 1);
  EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 401);
  // Calls that a capture forbids end it.
  Pointer p;
  const std::function<int()> forbidden[] = {
      [&] { return s.wait(); }, [&] { return cuCtxSynchronize(); }, [&] { return cuStreamQuery(s.stream); },
      [&] { return cuMemAlloc_v2(&p, 16); }, [&] { return cuMemFree_v2(x.p); }};
  for (auto &f : forbidden) {
    EXPECT_EQ(cuStreamBeginCapture_v2(s.stream, 1), 0);
    EXPECT_EQ(f(), 900);
    EXPECT_EQ(s.launch("add_one", 1, 8, 0, x.p, 8), 901);
    EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 901);
    EXPECT(!g, "a graph came of it");
  }
  EXPECT_EQ(cuStreamBeginCapture_v2(s.stream, 2), 0);   // relaxed: an allocation is allowed
  EXPECT_EQ(cuMemAlloc_v2(&p, 16), 0);
  EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 0);
  EXPECT_EQ(cuGraphDestroy(g), 0);
  EXPECT_EQ(cuMemFree_v2(p), 0);
  EXPECT_EQ(cuStreamBeginCapture_v2(s.stream, 1), 0);
  std::thread([&] {
    cuCtxSetCurrent(s.context);
    EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 908);
  }).join();
  EXPECT_EQ(cuStreamEndCapture(s.stream, &g), 0);
  EXPECT_EQ(cuGraphDestroy(g), 0);
}

void images() {
  Session s(1);                                    // compute capability 8.6
  void *m, *f;
  int v;
  auto load = [&](const std::string &text) { return cuModuleLoadData(&m, text.c_str()); };
  const std::string head = ".version 7.0\n.target sm_75\n.address_size 64\n";
  const std::string good = head + ".visible .entry add_one(\n\t.param .u64 p0, // a comment with )\n\t.param .u32 p1\n)\n"
                                  ".maxntid 128, 2, 1\n{ .shared .align 4 .b8 s[1024]; ret; }\n";
  int options[] = {5, 6};
  char log[64] = "?";
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  EXPECT_EQ(cuModuleLoadDataEx(&m, good.c_str(), 2, options, values), 0);
  EXPECT(!*log && !values[1], "the log was left as it was");
  EXPECT_EQ(cuModuleGetFunction(&f, m, "reverse"), 500);
  EXPECT_EQ(cuModuleGetFunction(&f, m, "add_one"), 0);
  EXPECT_EQ(cuFuncGetAttribute(&v, 0, f), 0);
  EXPECT_EQ(v, 256);
  EXPECT_EQ(cuFuncGetAttribute(&v, 1, f), 0);
  EXPECT_EQ(v, 1024);
  EXPECT_EQ(cuFuncSetAttribute(f, 8, 98 << 10), 0);
  EXPECT_EQ(cuFuncSetAttribute(f, 8, 99 << 10), 1);  // with the static 1 KiB too much
  Pointer p;
  EXPECT_EQ(cuMemAlloc_v2(&p, 4), 0);
  int one = 1;
  void *args[] = {&p, &one};
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 256, 1, 1, 98 << 10, s.stream, args, nullptr), 0);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 256, 1, 1, 99 << 10, s.stream, args, nullptr), 1);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 257, 1, 1, 0, s.stream, args, nullptr), 1);
  EXPECT_EQ(s.wait(), 0);
  EXPECT_EQ(cuMemFree_v2(p), 0);
  EXPECT_EQ(cuModuleUnload(m), 0);
  EXPECT_EQ(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s.stream, args, nullptr), 400);
  EXPECT_EQ(load(head + ".visible .entry add_one(.param .u64 a, .param .u64 b) { ret; }"), 200);
  EXPECT_EQ(load(head + ".visible .entry add_one(.param .u64 a) { ret; }"), 200);
  EXPECT_EQ(load(head + ".visible .entry gone(.param .u64 a) { ret; }"), 200);
  EXPECT_EQ(load("no PTX"), 200);
  EXPECT_EQ(load(".version 7.0\n.target sm_90\n"), 209);
  EXPECT_EQ(load(".version 9.1\n.target sm_75\n"), 222);
}

// Matrices of 128·depth, and the rate of a kernel on them.
void rate(Session &s, const char *kernel, int depth, int times) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> a(size_t(128) * size_t(depth)), b(a.size());
  for (float &v : a) v = tf32(normal(random));
  for (float &v : b) v = tf32(normal(random));
  Buffer<float> pa(a), pb(b), pc(128 * 128);
  double best = 0;
  for (int i = 0; i < times; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(s.launch(kernel, 1, 256, 0, pa.p, pb.p, pc.p, depth), 0);
    EXPECT_EQ(s.wait(), 0);
    const std::chrono::duration<double> t = std::chrono::steady_clock::now() - start;
    best = std::max(best, 128. * 128 * depth / t.count());
  }
  const auto c = pc.get();
  for (int m = 0; m < 128; m += 5)
    for (int n = 0; n < 128; n += 3) {
      double want = 0, scale = 0;
      for (int k = 0; k < depth; ++k) {
        const double p = double(a[size_t(m * depth + k)]) * b[size_t(n * depth + k)];
        want += p;
        scale += fabs(p);
      }
      const double got = c[size_t(m * 128 + n)];
      EXPECT(fabs(got - want) <= depth * 0x1p-21 * scale, "%s [%d, %d]: %g, want %g", kernel, m, n, got, want);
    }
  if (times > 1) printf("%s: %.0f M FMA/s\n", kernel, best / 1e6);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  bind(argv[1]);
  const std::string what = argv[2];
  static char stack[64 << 10];                     // as Go's threads have: a fiber's own may have overflowed
  stack_t alternative{stack, 0, sizeof stack};
  sigaltstack(&alternative, nullptr);
  EXPECT_EQ(cuInit(0), 0);
  if (what == "race") {
    Session s;
    Buffer<float> x(ramp(512));
    s.launch("reverse", 1, 256, 0, x.p, 0);
    s.wait();
  } else if (what == "overrun") {
    Session s;
    Buffer<float> x(ramp(5)), y(ramp(5));
    s.launch("read_out_of_bounds", 1, 1, 0, x.p, y.p, 5);
    s.wait();
  } else if (what == "rates") {
    Session s;
    rate(s, "rate_fma", 1024, 9);
    rate(s, "rate_mma", 1024, 9);
  } else {
    good_kernels();
    mma_layout();
    mma_arithmetic();
    {
      Session s;
      rate(s, "rate_fma", 32, 1);
      rate(s, "rate_mma", 32, 1);
    }
    if (what == "all") {
      planted_faults();
      deferred_work();
      devices_and_leaks();
      injection();
      capture();
      images();
    }
    EXPECT_EQ(cusim_live(), 0);
  }
  if (failures) fprintf(stderr, "%d failures\n", failures);
  return failures != 0;
}
