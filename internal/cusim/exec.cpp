//go:build ignore

// Runs kernels: one fiber per CUDA thread, one block after another, on the thread that waits for them.
//
// A fiber that must wait switches straight to the next one that is ready, preferring its own warp, whose
// stacks are in the cache. Only the end of a block, a deadlock or a fault goes back to the scheduler.
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#if !defined(__x86_64__)          // elsewhere, or for a test of this path: slow but portable
#define CUSIM_UCONTEXT
#endif
#if defined(CUSIM_UCONTEXT)
#include <ucontext.h>
#endif

#include <algorithm>
#include <random>

#include "sim.h"

#if defined(CUSIM_TSAN)
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *, unsigned flags);
void __tsan_acquire(void *);
void __tsan_release(void *);
}
// Switching fibers says nothing of order (flag 1); only barriers do, by these two.
#define TSAN_ACQUIRE(p) __tsan_acquire(p)
#define TSAN_RELEASE(p) __tsan_release(p)
#else
#define TSAN_ACQUIRE(p) (void)(p)
#define TSAN_RELEASE(p) (void)(p)
#endif

extern "C" char __start_cusim_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cusim_shared[] __attribute__((weak, visibility("hidden")));

namespace cusim {
Thread *cur;
dim3 block_dim, grid_dim;
uint3 block_idx;
Kernel *kernels;

namespace {

constexpr unsigned kThreads = 1024, kGroups = kThreads / 32;
#if defined(CUSIM_ASAN) || defined(CUSIM_TSAN)
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif
constexpr size_t kGuard = 4096, kColours = 12 << 10, kStride = kGuard + kStack + kColours;
constexpr size_t kDynamic = 256 << 10, kRed = 256;

// ---- contexts and switching

struct Context {
  void *sp;
  const void *bottom;            // of the stack
  size_t size;
#if defined(CUSIM_UCONTEXT)
  ucontext_t uc;
#endif
#if defined(CUSIM_ASAN)
  void *fake;
#endif
#if defined(CUSIM_TSAN)
  void *tsan;
#endif
};

enum State : uint8_t { kRunning, kBarrier, kDone };   // who meets in a warp is in Warp::arrived

// What a switch touches comes first, in one cache line.
struct alignas(64) Fiber {
  Thread t;                      // the very first: cur points here
  unsigned position;             // in the order of running
  State state;
  Context context;
  std::vector<Copy> copies;      // cp.async: all not yet done, oldest first
  std::vector<size_t> groups;    // cp.async: where each committed group ends in copies
};

Fiber fibers[kThreads];
char *stacks;
Warp warps[kGroups];
Context scheduler;
#if defined(CUSIM_ASAN)
Context *running = &scheduler;   // lags behind during a switch: then it is where we come from
#endif

Fiber *self() { return reinterpret_cast<Fiber *>(cur); }

#if !defined(CUSIM_UCONTEXT)
extern "C" void cusim_switch(void **save, void *load);
__asm__(R"(
.text
.p2align 4
.type cusim_switch,@function
cusim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cusim_switch,.-cusim_switch
)");
#endif

// arrived is what every context runs first after a switch to it.
void arrived([[maybe_unused]] void *fake) {
#if defined(CUSIM_ASAN)
  const void *bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(fake, &bottom, &size);
  if (running == &scheduler) {   // where we come from; only thus the scheduler's stack is known
    scheduler.bottom = bottom;
    scheduler.size = size;
  }
#endif
}

inline void switch_to(Context *from, Context *to, [[maybe_unused]] bool last = false) {
#if defined(CUSIM_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &from->fake, to->bottom, to->size);
#endif
#if defined(CUSIM_TSAN)
  __tsan_switch_to_fiber(to->tsan, 1);
#endif
#if !defined(CUSIM_UCONTEXT)
  cusim_switch(&from->sp, to->sp);
#else
  swapcontext(&from->uc, &to->uc);
#endif
#if defined(CUSIM_ASAN)
  arrived(from->fake);
  running = from;
#endif
}

// ---- who runs next

// The order is a permutation of positions. A group is 32 positions; in most orders it is a warp.
Fiber *at[kThreads];
uint32_t ready[kGroups], present[kGroups], ready_groups;
unsigned nthreads, ngroups;
bool groups_are_warps;

void set_ready(const Fiber *f) {
  ready[f->position >> 5] |= 1u << (f->position & 31);
  ready_groups |= 1u << (f->position >> 5);
}
void set_waiting(const Fiber *f) {
  if (!(ready[f->position >> 5] &= ~(1u << (f->position & 31)))) ready_groups &= ~(1u << (f->position >> 5));
}
void set_all_ready() {
  memcpy(ready, present, sizeof ready);
  ready_groups = 0;
  for (unsigned g = 0; g < ngroups; ++g) ready_groups |= unsigned(present[g] != 0) << g;
}

unsigned next_bit(uint32_t set, unsigned after) {  // circular; set is not empty
  const unsigned from = (after + 1) & 31;
  return (from + unsigned(__builtin_ctz(set >> from | set << (-from & 31)))) & 31;
}

Fiber *next_ready(unsigned position) {
  const unsigned group = position >> 5;
  if (ready[group]) return at[group * 32 + next_bit(ready[group], position & 31)];
  if (!ready_groups) return nullptr;
  const unsigned other = next_bit(ready_groups, group);
  return at[other * 32 + unsigned(__builtin_ctz(ready[other]))];
}

Fiber *first_in_order() { return at[__builtin_ctz(present[0])]; }

void arrange(std::mt19937 *random, bool reverse) {
  unsigned group[kGroups], bit[kGroups][32], flat[kThreads];
  for (unsigned i = 0; i < kThreads; ++i) flat[i] = i;
  for (unsigned g = 0; g < kGroups; ++g) {
    group[g] = reverse ? ngroups - 1 - g : g;
    for (unsigned b = 0; b < 32; ++b) bit[g][b] = reverse ? 31 - b : b;
  }
  groups_are_warps = !random || (*random)() & 1;
  if (random) {
    std::shuffle(group, group + ngroups, *random);
    for (unsigned g = 0; g < ngroups; ++g) std::shuffle(bit[g], bit[g] + 32, *random);
    std::shuffle(flat, flat + nthreads, *random);
  }
  memset(present, 0, sizeof present);
  for (unsigned i = 0; i < nthreads; ++i) {
    Fiber &f = fibers[i];
    f.position = groups_are_warps ? group[i / 32] * 32 + bit[i / 32][i % 32] : flat[i];
    at[f.position] = &f;
    present[f.position >> 5] |= 1u << (f.position & 31);
  }
}

// yield gives the processor to whoever is ready, or to the scheduler, which then finds out why none is.
void yield(Fiber *f, bool last = false) {
  Fiber *next = next_ready(f->position);
  if (next == f) return;
  if (next) cur = &next->t;
  switch_to(&f->context, next ? &next->context : &scheduler, last);
  cur = &f->t;
}

// ---- one launch

void (*body)(void *);
void *body_args;
int error_code;
std::string error;               // and of which thread it tells: cur

[[maybe_unused]] char start_token, end_token, barrier_token[2];
unsigned barrier_phase, barrier_arrived;
int barrier_line;
BlockVote barrier_vote, barrier_result;

char *dynamic, *dynamic_end;     // the memory of this launch
char *dynamic_map;

[[noreturn]] void stop(int code, std::string text) {
  error_code = code;
  error = std::move(text);
  self()->state = kDone;
  switch_to(&self()->context, &scheduler, true);
  __builtin_unreachable();
}

void fiber_main() {
  arrived(nullptr);
#if defined(CUSIM_ASAN)
  running = &self()->context;
#endif
  TSAN_ACQUIRE(&start_token);
  body(body_args);
  Fiber *f = self();
  if (!f->copies.empty()) fail("the thread ended with %zu cp.async copies it never waited for", f->copies.size());
  f->state = kDone;
  Warp &w = *f->t.warp;
  const unsigned me = 1u << f->t.lane;
  w.left |= me;
  for (unsigned waiting = w.arrived; waiting; waiting &= waiting - 1)
    if (w.key[__builtin_ctz(waiting)] & me) fail("the thread left the kernel while lanes of its warp wait for it");
  TSAN_RELEASE(&end_token);
  set_waiting(f);
  yield(f, true);
  __builtin_unreachable();
}

void prepare(Fiber &f) {
#if defined(CUSIM_ASAN)
  __asan_unpoison_memory_region(f.context.bottom, f.context.size);  // what the last thread left
#endif
#if !defined(CUSIM_UCONTEXT)
  void **sp = reinterpret_cast<void **>(static_cast<char *>(const_cast<void *>(f.context.bottom)) + f.context.size);
  *--sp = nullptr;               // keeps the ABI's alignment at entry
  *--sp = reinterpret_cast<void *>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  f.context.sp = sp;
#else
  getcontext(&f.context.uc);
  f.context.uc.uc_stack.ss_sp = const_cast<void *>(f.context.bottom);
  f.context.uc.uc_stack.ss_size = f.context.size;
  f.context.uc.uc_link = nullptr;
  makecontext(&f.context.uc, fiber_main, 0);
#endif
#if defined(CUSIM_TSAN)
  if (!f.context.tsan) f.context.tsan = __tsan_create_fiber(0);
#endif
  f.copies.clear();
  f.groups.clear();
  f.state = kRunning;
}

void make_stacks() {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  stacks = static_cast<char *>(mmap(nullptr, kStride * kThreads, PROT_READ | PROT_WRITE, flags, -1, 0));
  if (stacks == MAP_FAILED) abort();
  for (unsigned i = 0; i < kThreads; ++i) {
    char *low = stacks + i * kStride;
    mprotect(low, kGuard, PROT_NONE);
    // Stacks that all end at the same offset in a page would compete for the same few cache lines.
    fibers[i].context.bottom = low + kGuard;
    fibers[i].context.size = kStack + (i * 1216u % kColours & ~size_t(63));
  }
  char *m = static_cast<char *>(mmap(nullptr, kDynamic + 2 * kGuard, PROT_NONE, flags, -1, 0));
  if (m == MAP_FAILED) abort();
  mprotect(m + kGuard, kDynamic, PROT_READ | PROT_WRITE);
  dynamic_map = m + kGuard;
}

constexpr unsigned char kRedByte = 0xC3;

// The dynamic shared memory ends at an unreadable page, up to 16 bytes; before it lie canaries.
void place_dynamic(unsigned n) {
  dynamic_end = dynamic_map + kDynamic;
  dynamic = dynamic_end - ((n + 15u) & ~15u);
#if defined(CUSIM_ASAN)
  __asan_poison_memory_region(dynamic_map, kDynamic);
  __asan_unpoison_memory_region(dynamic, n);
#else
  memset(dynamic - kRed, kRedByte, kRed);
  memset(dynamic + n, kRedByte, size_t(dynamic_end - dynamic) - n);
#endif
}

bool dynamic_intact([[maybe_unused]] unsigned n) {
#if !defined(CUSIM_ASAN)
  for (const char *p = dynamic - kRed; p < dynamic; ++p) if (static_cast<unsigned char>(*p) != kRedByte) return false;
  for (const char *p = dynamic + n; p < dynamic_end; ++p) if (static_cast<unsigned char>(*p) != kRedByte) return false;
#endif
  return true;
}

// Why no thread is ready; true if all have ended.
bool block_ended() {
  unsigned done = 0, at_barrier = 0;
  const Fiber *stuck = nullptr;
  for (unsigned i = 0; i < nthreads; ++i) {
    done += fibers[i].state == kDone;
    at_barrier += fibers[i].state == kBarrier;
    if (fibers[i].state == kRunning || (!stuck && fibers[i].state == kBarrier)) stuck = &fibers[i];
  }
  if (done == nthreads) return true;
  cur = const_cast<Thread *>(&stuck->t);
  error_code = LAUNCH_FAILED;
  char s[160];
  if (at_barrier && at_barrier + done == nthreads)
    snprintf(s, sizeof s, "%u threads left the kernel while others wait at __syncthreads, line %d", done, barrier_line);
  else
    snprintf(s, sizeof s, "deadlock: %u threads wait in a warp operation, %u at __syncthreads, %u have left",
             nthreads - at_barrier - done, at_barrier, done);
  error = s;
  return false;
}

bool run_block() {
  for (unsigned w = 0; w * 32 < nthreads; ++w) {
    warps[w].exists = nthreads - w * 32 >= 32 ? 0xffffffffu : (1u << (nthreads - w * 32)) - 1;
    warps[w].arrived = warps[w].left = 0;
  }
  for (unsigned i = 0; i < nthreads; ++i) {
    Fiber &f = fibers[i];
    f.t.tid = {i % block_dim.x, i / block_dim.x % block_dim.y, i / (block_dim.x * block_dim.y)};
    f.t.lane = i % 32;
    f.t.warp = &warps[i / 32];
    prepare(f);
  }
  barrier_arrived = 0;
  barrier_vote = {0, 0, 1};
  set_all_ready();
  TSAN_RELEASE(&start_token);
  Fiber *first = first_in_order();
  cur = &first->t;
  switch_to(&scheduler, &first->context);
  if (error_code || !block_ended()) return false;
  TSAN_ACQUIRE(&end_token);
  return true;
}

// ---- faults inside a kernel

sigjmp_buf fault_jump;
volatile sig_atomic_t in_kernel;
pthread_t kernel_thread;
struct sigaction old_segv, old_bus;
void *fault_address;
int fault_code;

[[maybe_unused]] void on_fault(int sig, siginfo_t *info, void *uc) {
  if (in_kernel && pthread_equal(pthread_self(), kernel_thread)) {
    fault_address = info->si_addr;
    fault_code = info->si_code;
    siglongjmp(fault_jump, 1);
  }
  const struct sigaction &old = sig == SIGSEGV ? old_segv : old_bus;  // not ours: Go's
  if (old.sa_flags & SA_SIGINFO) old.sa_sigaction(sig, info, uc);
  else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) old.sa_handler(sig);
  else {
    signal(sig, SIG_DFL);
    raise(sig);
  }
}

void explain_fault() {
  const char *p = static_cast<char *>(fault_address);
  error_code = ILLEGAL_ADDRESS;
  if (!p && fault_code == SI_KERNEL) {     // x86's general protection fault gives no address
    error_code = MISALIGNED_ADDRESS;
    error = "a misaligned vector access, or a wild address";
  } else if (p >= stacks && p < stacks + kStride * kThreads) {
    error = "the stack of " + std::to_string(kStack) + " bytes overflowed";
  } else if (p >= dynamic_end && p < dynamic_end + kGuard) {
    error = std::to_string(p - dynamic) + " bytes into dynamic shared memory of " + std::to_string(dynamic_end - dynamic);
  } else {
    error = "illegal address " + describe(p);
  }
}

}  // namespace

// ---- what kernels call

BlockVote sync_block(int line, int p) {
  Fiber *f = self();
  if (barrier_arrived && barrier_line != line)
    fail("threads of one block wait at different __syncthreads: lines %d and %d", barrier_line, line);
  barrier_line = line;
  barrier_vote.sum += p != 0;
  barrier_vote.any |= p != 0;
  barrier_vote.all &= p != 0;
  [[maybe_unused]] char *token = &barrier_token[barrier_phase & 1];
  TSAN_RELEASE(token);
  f->state = kBarrier;
  set_waiting(f);
  if (++barrier_arrived == nthreads) {
    barrier_arrived = 0;
    ++barrier_phase;
    barrier_result = barrier_vote;
    barrier_vote = {0, 0, 1};
    for (unsigned i = 0; i < nthreads; ++i) fibers[i].state = kRunning;
    set_all_ready();
    // Go on with the first of the order, not with the last to arrive.
    Fiber *first = first_in_order();
    if (first != f) {
      cur = &first->t;
      switch_to(&f->context, &first->context);
      cur = &f->t;
    }
  } else {
    yield(f);
  }
  TSAN_ACQUIRE(token);
  return barrier_result;
}

namespace {

// Does op for the lanes in the set, all of which have arrived.
void complete(Warp &w, Meet op, unsigned mask, unsigned lanes) {
  if (op == Meet::kSync) return;
  if (op == Meet::kMma) {
    if (lanes != 0xffffffffu) fail("mma in a warp of fewer than 32 threads");
    tensor_core(w);
    return;
  }
  if (op == Meet::kShuffle) {
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
      const unsigned lane = unsigned(__builtin_ctz(rest)), from = w.source[lane];
      if (!(lanes >> from & 1)) fail("shuffle: lane %u reads lane %u, which is not in mask %08x", lane, from, mask);
      w.result[lane] = w.value[from];
    }
    return;
  }
  int64_t r = op == Meet::kMin ? INT64_MAX : op == Meet::kMax ? INT64_MIN : op == Meet::kAnd ? -1 : 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const unsigned lane = unsigned(__builtin_ctz(rest));
    const int64_t v = int64_t(w.value[lane]);
    switch (op) {
      case Meet::kVote: r |= int64_t(v != 0) << lane; break;
      case Meet::kAdd: r += v; break;
      case Meet::kMin: r = v < r ? v : r; break;
      case Meet::kMax: r = v > r ? v : r; break;
      case Meet::kAnd: r &= v; break;
      case Meet::kOr: r |= v; break;
      default: r ^= v;
    }
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1) w.result[__builtin_ctz(rest)] = uint64_t(r);
}

bool same_keys(const Warp &w, unsigned lanes, uint64_t key) {
  uint64_t wrong = 0;
  if (lanes == 0xffffffffu)      // a loop that g++ makes vectors of
    for (int i = 0; i < 32; ++i) wrong |= w.key[i] ^ key;
  else
    for (unsigned rest = lanes; rest; rest &= rest - 1) wrong |= w.key[__builtin_ctz(rest)] ^ key;
  return !wrong;
}

}  // namespace

void meet(Meet op, unsigned mask) {
  Fiber *f = self();
  Warp &w = *f->t.warp;
  const unsigned me = 1u << f->t.lane, lanes = mask & w.exists;
  const uint64_t key = uint64_t(op) << 32 | mask;
  if (!(mask & me)) fail("lane %u is not in the mask %08x of its own warp operation", f->t.lane, mask);
  if (mask & w.left) fail("a warp operation with mask %08x names lanes %08x, which have left the kernel", mask, mask & w.left);
  w.key[f->t.lane] = key;
  w.arrived |= me;
  [[maybe_unused]] char *token = &w.token[w.phase & 1];
  TSAN_RELEASE(token);
  if ((w.arrived & lanes) != lanes) {
    set_waiting(f);
    yield(f);
    TSAN_ACQUIRE(token);
    return;
  }
  if (!same_keys(w, lanes, key)) fail("lanes of one warp meet in different operations or with different masks");
  complete(w, op, mask, lanes);
  w.arrived &= ~lanes;
  ++w.phase;
  Fiber *first = &fibers[(&w - warps) * 32];
  if (groups_are_warps && lanes == w.exists) {
    ready[f->position >> 5] = present[f->position >> 5];   // this lane runs, so its group is listed
  } else {
    for (unsigned rest = lanes; rest; rest &= rest - 1) set_ready(&first[__builtin_ctz(rest)]);
  }
  TSAN_ACQUIRE(token);
}

void *dyn_shared() { return dynamic; }

void fail(const char *format, ...) {
  char s[512];
  va_list args;
  va_start(args, format);
  vsnprintf(s, sizeof s, format, args);
  va_end(args);
  stop(LAUNCH_FAILED, s);
}

void cp_async16(void *smem, const void *gmem, bool valid) {
  if (uintptr_t(smem) & 15 || (valid && uintptr_t(gmem) & 15)) fail("cp.async: an address is no multiple of 16");
#if !defined(CUSIM_ASAN)                    // there static shared memory may be anywhere
  const char *p = static_cast<char *>(smem);
  if ((p < dynamic || p >= dynamic_end) && (p < __start_cusim_shared || p >= __stop_cusim_shared))
    fail("cp.async: the destination is not in shared memory");
#endif
  self()->copies.push_back({smem, valid ? gmem : nullptr});
}

void cp_async_commit() { self()->groups.push_back(self()->copies.size()); }

Copies cp_async_due(int pending) {
  Fiber *f = self();
  if (pending < 0 || f->groups.size() <= size_t(pending)) return {nullptr, 0};
  const size_t finished = f->groups.size() - size_t(pending), n = f->groups[finished - 1];
  f->groups.erase(f->groups.begin(), f->groups.begin() + ptrdiff_t(finished));
  for (size_t &end : f->groups) end -= n;
  return {f->copies.data(), n};
}

void cp_async_done(size_t n) {
  std::vector<Copy> &c = self()->copies;
  c.erase(c.begin(), c.begin() + ptrdiff_t(n));
}

int execute(const Launch &l, std::string *why) {
  static const char *mode = getenv("CUSIM_ORDER");
  const bool reverse = mode && !strcmp(mode, "rev"), shuffled = mode && *mode >= '0' && *mode <= '9';
  static std::mt19937 random;               // static: a fault jumps past destructors
  random.seed(shuffled ? unsigned(strtoul(mode, nullptr, 10)) : 0);
  if (!stacks) make_stacks();
  nthreads = l.block.x * l.block.y * l.block.z;
  ngroups = (nthreads + 31) / 32;
  body = l.kernel->call;
  body_args = l.args;
  grid_dim = l.grid;
  block_dim = l.block;
  error_code = SUCCESS;
  cur = &fibers[0].t;
  cur->tid = {};
  block_idx = {};
  place_dynamic(l.dynamic_shared);
  arrange(nullptr, reverse);
#if defined(CUSIM_TSAN)
  scheduler.tsan = __tsan_get_current_fiber();
#endif
  kernel_thread = pthread_self();
#if !defined(CUSIM_ASAN) && !defined(CUSIM_TSAN)
  struct sigaction ours {};
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &ours, &old_segv);
  sigaction(SIGBUS, &ours, &old_bus);
#endif
  if (sigsetjmp(fault_jump, 1)) {
    in_kernel = 0;
    explain_fault();
  } else {
    in_kernel = 1;
    for (unsigned z = 0; z < grid_dim.z && !error_code; ++z)
      for (unsigned y = 0; y < grid_dim.y && !error_code; ++y)
        for (unsigned x = 0; x < grid_dim.x && !error_code; ++x) {
          block_idx = {x, y, z};
          if (shuffled) arrange(&random, false);
#if !defined(CUSIM_ASAN)
          if (__start_cusim_shared) memset(__start_cusim_shared, 0xff, size_t(__stop_cusim_shared - __start_cusim_shared));
#endif
          memset(dynamic, 0xff, l.dynamic_shared);
          if (run_block() && !dynamic_intact(l.dynamic_shared)) {
            error_code = ILLEGAL_ADDRESS;
            error = "the block wrote outside its dynamic shared memory";
          }
        }
    in_kernel = 0;
  }
#if !defined(CUSIM_ASAN) && !defined(CUSIM_TSAN)
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
#endif
  if (error_code) {
    char s[256];
    const uint3 b = block_idx, t = cur->tid;
    snprintf(s, sizeof s, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u): ", l.kernel->name, b.x, b.y, b.z, t.x, t.y, t.z);
    *why = s + error;
  }
  return error_code;
}

}  // namespace cusim
