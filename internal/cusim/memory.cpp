//go:build ignore

// Allocations: guard pages, canaries and NaN.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>

#include "sim.h"

namespace cusim {
namespace {

std::map<uintptr_t, Allocation> allocations;  // by address
constexpr unsigned char kCanary = 0xA5;
constexpr size_t kLazy = size_t(16) << 20;    // allocations from here on are filled page by page

size_t page() {
  static const size_t n = size_t(sysconf(_SC_PAGESIZE));
  return n;
}

// A file of kLazy bytes 0xff. Mapped privately it is memory full of NaN that costs nothing until it is
// written: a test may allocate gigabytes of a simulated device.
int nan_file() {
  static const int fd = [] {
    const int f = memfd_create("cusim-nan", MFD_CLOEXEC);
    if (f < 0 || ftruncate(f, off_t(kLazy))) return -1;
    void *m = mmap(nullptr, kLazy, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    if (m == MAP_FAILED) return -1;
    memset(m, 0xff, kLazy);
    munmap(m, kLazy);
    return f;
  }();
  return fd;
}

bool fill_nan(char *body, size_t n) {
  if (n < kLazy || nan_file() < 0) {
    if (mprotect(body, n, PROT_READ | PROT_WRITE)) return false;
    memset(body, 0xff, n);
    return true;
  }
  for (size_t i = 0; i < n; i += kLazy) {
    const size_t part = n - i < kLazy ? n - i : kLazy;
    const int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    if (mmap(body + i, part, PROT_READ | PROT_WRITE, flags, nan_file(), 0) == MAP_FAILED) return false;
  }
  return true;
}

}  // namespace

Allocation *allocate(size_t n, bool pinned, void *owner) {
  const size_t len = (n + 15) & ~size_t(15), body = (len + page() - 1) & ~(page() - 1);
  const size_t map_size = body + 2 * page();
  if (len < n || map_size < n) return nullptr;
  void *m = mmap(nullptr, map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m == MAP_FAILED) return nullptr;
  char *map = static_cast<char *>(m), *first = map + page();
  if (!fill_nan(first, body)) {
    munmap(map, map_size);
    return nullptr;
  }
  Allocation a{first + body - len, n, pinned, owner, map, map_size, body - len, len - n};
  memset(first, kCanary, a.before);
  memset(a.p + n, kCanary, a.after);
#if defined(CUSIM_ASAN)
  __asan_poison_memory_region(first, a.before);
  __asan_poison_memory_region(a.p + n, a.after);
#endif
  return &(allocations[uintptr_t(a.p)] = a);
}

Allocation *find(const void *p, size_t n) {
  auto it = allocations.upper_bound(uintptr_t(p));
  if (it == allocations.begin()) return nullptr;
  Allocation &a = std::prev(it)->second;
  const size_t offset = size_t(static_cast<const char *>(p) - a.p);
  return offset <= a.size && n <= a.size - offset ? &a : nullptr;
}

bool intact(const Allocation &a) {
#if defined(CUSIM_ASAN)
  (void)a;                       // the padding is poisoned, and has told already
  return true;
#else
  const unsigned char *before = reinterpret_cast<unsigned char *>(a.p) - a.before;
  const unsigned char *after = reinterpret_cast<unsigned char *>(a.p) + a.size;
  unsigned char wrong = 0;       // without a branch, g++ makes vectors of it
  for (size_t i = 0; i < a.before; ++i) wrong |= before[i] ^ kCanary;
  for (size_t i = 0; i < a.after; ++i) wrong |= after[i] ^ kCanary;
  return !wrong;
#endif
}

bool release(Allocation *a) {
  const bool ok = intact(*a);
#if defined(CUSIM_ASAN)
  __asan_unpoison_memory_region(a->map, a->map_size);
#endif
  munmap(a->map, a->map_size);
  allocations.erase(uintptr_t(a->p));
  return ok;
}

std::vector<Allocation *> allocations_of(const void *owner) {
  std::vector<Allocation *> r;
  for (auto &kv : allocations)
    if (kv.second.owner == owner) r.push_back(&kv.second);
  return r;
}

std::string describe(const void *p) {
  char s[160];
  snprintf(s, sizeof s, "%p", p);
  for (auto &kv : allocations) {
    const Allocation &a = kv.second;
    const char *q = static_cast<const char *>(p);
    if (q < a.map || q >= a.map + a.map_size) continue;
    snprintf(s, sizeof s, "%p, %td bytes into an allocation of %zu", p, q - a.p, a.size);
  }
  return s;
}

}  // namespace cusim
