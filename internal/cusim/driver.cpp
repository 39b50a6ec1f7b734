//go:build ignore

// The driver side of the simulator: the entry points of libcuda.so.1 on host memory, and the control
// functions cusim_*, by which tests inject faults and count. README.md tells what is modelled.
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

#include "sim.h"

namespace {
using namespace cusim;

std::recursive_mutex mutex;      // over everything

// ---- objects

enum class Kind { kContext, kModule, kFunction, kStream, kEvent, kGraph, kExec };
const char *const kind_names[] = {"context", "module", "function", "stream", "event", "graph", "graph exec"};

struct Context;

// Object is what a handle points to. Objects are never deleted, only marked dead: so a stale handle is
// known as one, and is not mistaken for the next object at its address.
struct Object {
  Kind kind;
  Context *context;
  bool alive = true;
  Object(Kind k, Context *c) : kind(k), context(c) {}
  virtual ~Object() = default;
};
std::unordered_map<const void *, std::unique_ptr<Object>> objects;

struct Stream;
struct Event;

// Op is one operation in a stream: a piece of work, the record of an event, or a wait for one.
struct Op {
  Stream *stream = nullptr;
  std::function<int()> work = nullptr;
  const Kernel *kernel = nullptr;           // set for launches
  Event *record = nullptr, *wait = nullptr;
  uint64_t version = 0;                     // of the event: each record is a new one
  int inject = 0;                           // fail with this instead of working
};

struct Function : Object {
  ImageKernel image;
  int dynamic_limit;
  Function(Context *c, const ImageKernel &i)
      : Object(Kind::kFunction, c), image(i), dynamic_limit((48 << 10) - int(i.static_shared)) {}
};
struct Module : Object {
  std::map<std::string, Function *> functions;
  explicit Module(Context *c) : Object(Kind::kModule, c) {}
};
struct Graph : Object {
  std::vector<Op> ops;
  Graph(Context *c, Kind k) : Object(k, c) {}
};
struct Capture {
  std::vector<Op> ops;
  int mode;                                 // 0 global, 1 thread-local, 2 relaxed
  pthread_t thread;
  bool invalid = false;
};
struct Stream : Object {
  bool blocking;                            // with the legacy stream
  unsigned flags;
  std::unique_ptr<Capture> capture;
  Stream(Context *c, unsigned f) : Object(Kind::kStream, c), blocking(!(f & 1)), flags(f) {}
};
struct Event : Object {
  bool timing;
  Stream *captured = nullptr;               // last recorded there, in a capture
  uint64_t recorded = 0, done = 0;          // versions
  double ms = 0;
  Event(Context *c, unsigned flags) : Object(Kind::kEvent, c), timing(!(flags & 2)) {}
};
struct Context : Object {
  int device;
  bool primary;
  int retained = 0;
  int sticky = 0;                           // as on a device, an error in a kernel stays
  Stream *null_stream = nullptr;
  std::deque<Op> queue;                     // work not yet done, in the order of issue
  Context(int d, bool p) : Object(Kind::kContext, nullptr), device(d), primary(p) { context = this; }
};

template <class T, class... A> T *create(A &&...a) {
  auto owned = std::make_unique<T>(std::forward<A>(a)...);
  T *p = owned.get();
  objects[p] = std::move(owned);
  return p;
}
// as is the object behind a handle, or null if it is not alive, of another kind or of another context.
template <class T> T *as(const void *handle, Kind kind, const Context *c) {
  auto it = objects.find(handle);
  if (it == objects.end()) return nullptr;
  Object *o = it->second.get();
  return o->alive && o->kind == kind && (!c || o->context == c) ? static_cast<T *>(o) : nullptr;
}

// ---- devices

struct Device {
  int capability;
  size_t memory, used = 0;
  unsigned flags = 0;                       // of the primary context
  Context *primary = nullptr;               // while retained
};

std::vector<Device> &devices() {
  static std::vector<Device> all = [] {
    const char *n = getenv("CUSIM_DEVICES"), *cc = getenv("CUSIM_CC"), *memory = getenv("CUSIM_MEMORY");
    std::vector<Device> v(size_t(n ? std::max(0, atoi(n)) : 1));
    std::string list = cc && *cc ? cc : "90";
    int capability = 90;
    for (Device &d : v) {                   // the last of the list stands for the rest
      if (!list.empty()) {
        capability = atoi(list.c_str());
        const size_t comma = list.find(',');
        list = comma == std::string::npos ? "" : list.substr(comma + 1);
      }
      d.capability = capability;
      d.memory = memory ? size_t(strtoull(memory, nullptr, 0)) : size_t(8) << 30;
    }
    return v;
  }();
  return all;
}
Device *device(int i) { return i >= 0 && size_t(i) < devices().size() ? &devices()[size_t(i)] : nullptr; }

// Shared memory that a block may have with the attribute set, in KiB.
int opt_in_shared(int capability) {
  switch (capability) {
    case 75: return 64;
    case 80: case 87: return 163;
    case 90: case 100: case 103: return 227;
    default: return 99;
  }
}

// ---- state of the control functions

long calls, launches, leaked, fail_call, fail_launch;
int fail_call_code, fail_launch_code;
std::map<std::string, long> launches_of;
std::string failed_call;
std::string last_error;                     // of the last fault in a kernel, with kernel, block and thread
int last_error_code;

bool is_sticky(int code) {
  switch (code) {
    case DEVICE_UNAVAILABLE: case ECC_UNCORRECTABLE: case ILLEGAL_ADDRESS: case LAUNCH_TIMEOUT:
    case MISALIGNED_ADDRESS: case LAUNCH_FAILED:
      return true;
  }
  return false;
}

void report(int code, const std::string &text) {
  last_error_code = code;
  last_error = text;
  fprintf(stderr, "cusim: %s\n", text.c_str());
}

// ---- calls

thread_local std::vector<Context *> current_stack;

Context *current() {
  Context *c = current_stack.empty() ? nullptr : current_stack.back();
  return c && c->alive ? c : nullptr;
}

enum Needs { kNothing, kContext };

// Call is one call of an entry point: it locks, counts, injects, and finds the context. A call that
// creates or works returns rc if it is not 0. A call that frees goes on as long as there is a context, and
// returns rc at its end: a driver that has lost the device still forgets what the program gives back.
struct Call {
  std::lock_guard<std::recursive_mutex> lock{mutex};
  Context *context = current();
  int rc = SUCCESS;
  explicit Call(const char *name, Needs needs) {
    ++calls;
    if (fail_call && calls == fail_call) {
      fail_call = 0;
      failed_call = name;
      rc = fail_call_code;
      if (context && is_sticky(rc)) context->sticky = rc;
    } else if (needs == kContext) {
      rc = context ? context->sticky : INVALID_CONTEXT;
    }
  }
};

#define API extern "C" __attribute__((visibility("default"))) int
#define BEGIN(needs)                \
  Call call(__func__, needs);       \
  if (call.rc) return call.rc;      \
  [[maybe_unused]] Context *const c = call.context
#define BEGIN_FREE                  \
  Call call(__func__, kContext);    \
  if (!call.context) return call.rc; \
  Context *const c = call.context

// ---- the queue

double now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) * 1e3 + double(t.tv_nsec) * 1e-6;
}

// run does the operations that want chooses and all they must wait for, and no others: work that nobody
// waits for is not done, so that a missing wait shows. Both kinds of streams keep their rules: the legacy
// stream waits for the blocking ones, they for it; non-blocking streams wait for events only.
int run(Context *c, const std::function<bool(const Op &)> &want) {
  std::vector<bool> needed(c->queue.size());
  std::set<const Stream *> streams;
  std::set<std::pair<const Event *, uint64_t>> waits;
  bool legacy = false, blocking = false;
  for (size_t i = c->queue.size(); i-- > 0;) {
    const Op &o = c->queue[i];
    const bool is_legacy = o.stream == c->null_stream;
    bool n = want(o) || streams.count(o.stream) || (legacy && o.stream->blocking) || (is_legacy && blocking);
    n = n || (o.record && waits.count({o.record, o.version}));
    if (!n) continue;
    needed[i] = true;
    streams.insert(o.stream);
    legacy = legacy || is_legacy;
    blocking = blocking || o.stream->blocking;
    if (o.wait) waits.insert({o.wait, o.version});
  }
  std::vector<Op> todo;
  std::deque<Op> rest;
  for (size_t i = 0; i < needed.size(); ++i) {
    Op &o = c->queue[i];
    if (needed[i]) todo.push_back(std::move(o));
    else rest.push_back(std::move(o));
  }
  c->queue.swap(rest);
  for (Op &o : todo) {
    if (!c->sticky && o.inject) c->sticky = o.inject;
    if (!c->sticky && o.work)
      if (const int rc = o.work()) c->sticky = rc;
    if (o.record) {
      o.record->done = std::max(o.record->done, o.version);
      o.record->ms = now_ms();
    }
  }
  return c->sticky;
}
int run_all(Context *c) {
  return c->queue.empty() ? c->sticky : run(c, [](const Op &) { return true; });
}
int run_stream(Stream *s) {
  Context *c = s->context;
  return run(c, [=](const Op &o) { return o.stream == s || (s == c->null_stream && o.stream->blocking); });
}

bool deferred() {
  static const char *e = getenv("CUSIM_ASYNC");
  return !e || *e != '0';
}

// issue puts an operation at the end of its stream.
int issue(Op o) {
  Context *c = o.stream->context;
  if (o.kernel) {
    ++launches;
    ++launches_of[o.kernel->name];
    if (fail_launch && launches == fail_launch) {
      fail_launch = 0;
      failed_call = "cuLaunchKernel";
      o.inject = fail_launch_code;
    }
  }
  const bool later = o.inject;              // an injected fault is never the launch's own error
  c->queue.push_back(std::move(o));
  if (deferred()) return SUCCESS;
  const int rc = run_all(c);
  return later ? SUCCESS : rc;
}

// ---- capture

bool capturing(const Context *c, const std::function<bool(const Stream &)> &which, Stream **found = nullptr) {
  for (auto &kv : objects) {
    Object *o = kv.second.get();
    if (!o->alive || o->kind != Kind::kStream || o->context != c) continue;
    Stream *s = static_cast<Stream *>(o);
    if (!s->capture || !which(*s)) continue;
    if (found) *found = s;
    return true;
  }
  return false;
}
long captures;                              // under way; most calls see 0 and look no further

int invalidate(Stream *s, int code) {
  s->capture->invalid = true;
  return code;
}

// A call that may synchronise (an allocation, a free) is refused while a capture forbids it: a global one
// of any thread, a thread-local one of this thread.
int refuse_unsafe(Context *c) {
  if (!captures) return SUCCESS;
  Stream *s;
  const pthread_t self = pthread_self();
  auto forbids = [=](const Stream &x) {
    return x.capture->mode == 0 || (x.capture->mode == 1 && pthread_equal(x.capture->thread, self));
  };
  return capturing(c, forbids, &s) ? invalidate(s, CAPTURE_UNSUPPORTED) : SUCCESS;
}
// Waiting for the context or the legacy stream would wait for a stream in capture.
int refuse_device_wait(Context *c) {
  Stream *s;
  auto any = [](const Stream &) { return true; };
  return captures && capturing(c, any, &s) ? invalidate(s, CAPTURE_UNSUPPORTED) : SUCCESS;
}
int refuse_legacy(Context *c, const Stream *used) {
  if (!captures || used != c->null_stream) return SUCCESS;
  Stream *s;
  auto blocks = [](const Stream &x) { return x.blocking; };
  return capturing(c, blocks, &s) ? invalidate(s, CAPTURE_IMPLICIT) : SUCCESS;
}
int refuse_wait(Stream *s) {                // for the stream itself
  if (s->capture) return invalidate(s, CAPTURE_UNSUPPORTED);
  return refuse_legacy(s->context, s);
}

// submit issues an operation, or records it if its stream is in capture.
int submit(Op o) {
  Stream *s = o.stream;
  if (const int rc = refuse_legacy(s->context, s)) return rc;
  if (!s->capture) return issue(std::move(o));
  if (s->capture->invalid) return CAPTURE_INVALIDATED;
  s->capture->ops.push_back(std::move(o));
  return SUCCESS;
}

Stream *stream_of(void *handle, Context *c) {
  const auto h = uintptr_t(handle);         // 1 and 2 name the legacy and the per-thread stream
  return h <= 2 ? c->null_stream : as<Stream>(handle, Kind::kStream, c);
}

// ---- contexts

Context *new_context(int device, bool primary) {
  Context *c = create<Context>(device, primary);
  c->null_stream = create<Stream>(c, 0u);
  return c;
}

bool counted(const Object *o) {             // a thing that its user must give back
  if (!o->alive || o->kind == Kind::kContext || o->kind == Kind::kFunction) return false;
  return o != o->context->null_stream;
}

void destroy_context(Context *c) {
  std::map<std::string, int> left;
  for (Allocation *a : allocations_of(c)) {
    ++left[a->pinned ? "pinned allocation" : "device allocation"];
    if (!a->pinned) device(c->device)->used -= a->size;
    release(a);
  }
  for (auto &kv : objects) {
    Object *o = kv.second.get();
    if (o->context != c || !o->alive) continue;
    if (counted(o)) ++left[kind_names[int(o->kind)]];
    if (o->kind == Kind::kStream && static_cast<Stream *>(o)->capture) --captures;
    o->alive = false;
  }
  c->queue.clear();
  if (c->sticky || left.empty()) return;
  std::string text;
  for (auto &kv : left) {
    leaked += kv.second;
    text += (text.empty() ? "" : ", ") + std::to_string(kv.second) + " " + kv.first + (kv.second > 1 ? "s" : "");
  }
  fprintf(stderr, "cusim: leaked when the context of device %d ended: %s\n", c->device, text.c_str());
}

int free_memory(Context *c, const void *p, bool pinned) {
  Allocation *a = find(p, 0);
  if (!a || a->p != p || a->pinned != pinned || a->owner != c) return INVALID_VALUE;
  const size_t size = a->size;
  if (!pinned) device(c->device)->used -= size;
  if (release(a) || c->sticky) return SUCCESS;
  report(ILLEGAL_ADDRESS, "memory next to an allocation of " + std::to_string(size) + " bytes was overwritten");
  return c->sticky = ILLEGAL_ADDRESS;
}

using Pointer = unsigned long long;
void *at(Pointer p) { return reinterpret_cast<void *>(uintptr_t(p)); }

}  // namespace

// ---- the process and its devices

API cuInit(unsigned) { return devices().empty() ? NO_DEVICE : SUCCESS; }
API cuDriverGetVersion(int *v) { *v = 13000; return SUCCESS; }
API cuDeviceGetCount(int *n) { *n = int(devices().size()); return SUCCESS; }

namespace {
struct Name { int code; const char *name, *text; };
const Name names[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};
const Name *name_of(int code) {
  for (const Name &n : names) if (n.code == code) return &n;
  return nullptr;
}
// Strings handed out stay valid for ever.
const char *keep(const std::string &s) {
  static std::set<std::string> kept;
  return kept.insert(s).first->c_str();
}
}  // namespace

API cuGetErrorName(int code, const char **s) {
  const Name *n = name_of(code);
  *s = n ? n->name : nullptr;
  return n ? SUCCESS : INVALID_VALUE;
}
API cuGetErrorString(int code, const char **s) {
  std::lock_guard<std::recursive_mutex> lock(mutex);
  const Name *n = name_of(code);
  if (!n) *s = nullptr;
  else if (code && code == last_error_code) *s = keep(std::string(n->text) + ": " + last_error);
  else *s = n->text;
  return n ? SUCCESS : INVALID_VALUE;
}

API cuDeviceGet(int *d, int i) {
  BEGIN(kNothing);
  if (!device(i)) return INVALID_DEVICE;
  *d = i;
  return SUCCESS;
}
API cuDeviceGetName(char *s, int n, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  snprintf(s, size_t(n), "cusim (host CPU)");
  return SUCCESS;
}
API cuDeviceGetUuid(unsigned char *uuid, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  memcpy(uuid, "cusim device \0\0\0", 16);
  uuid[15] = static_cast<unsigned char>(d);
  return SUCCESS;
}
API cuDeviceGetUuid_v2(unsigned char *uuid, int d) { return cuDeviceGetUuid(uuid, d); }
API cuDeviceGetPCIBusId(char *s, int n, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  snprintf(s, size_t(n), "0000:%02x:00.0", d + 1);
  return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t *n, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  *n = device(d)->memory;
  return SUCCESS;
}
API cuDeviceGetAttribute(int *v, int attribute, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  const int cc = device(d)->capability, shared = opt_in_shared(cc);
  switch (attribute) {
    case 1: case 2: case 3: *v = 1024; break;             // threads per block; block x, y
    case 4: *v = 64; break;                               // block z
    case 5: *v = 0x7fffffff; break;                       // grid x
    case 6: case 7: *v = 65535; break;                    // grid y, z
    case 8: *v = 48 << 10; break;                         // shared memory per block
    case 9: *v = 64 << 10; break;                         // constant memory
    case 10: *v = 32; break;                              // warp
    case 11: *v = 0x7fffffff; break;                      // pitch
    case 12: case 82: *v = 65536; break;                  // registers per block, per multiprocessor
    case 13: *v = 1000000; break;                         // clock, kHz
    case 14: *v = 512; break;                             // texture alignment
    case 15: case 31: case 40: case 41: *v = 1; break;    // overlap, concurrent kernels, copy engines, unified addresses
    case 16: *v = 4; break;                               // multiprocessors
    case 19: *v = 1; break;                               // maps host memory
    case 33: *v = d + 1; break;                           // PCI bus
    case 36: *v = 1000000; break;                         // memory clock, kHz
    case 37: *v = 256; break;                             // memory bus, bits
    case 38: *v = 4 << 20; break;                         // level 2 cache
    case 39: *v = cc == 75 ? 1024 : cc % 10 ? 1536 : 2048; break;  // threads per multiprocessor
    case 75: *v = cc / 10; break;
    case 76: *v = cc % 10; break;
    case 81: *v = (shared == 64 ? 64 : shared + 1) << 10; break;   // shared memory per multiprocessor
    case 97: *v = shared << 10; break;                    // shared memory per block, opted in
    case 106: *v = 16; break;                             // blocks per multiprocessor
    default: *v = 0;
  }
  return attribute < 1 ? INVALID_VALUE : SUCCESS;
}
API cuDeviceCanAccessPeer(int *can, int a, int b) {
  BEGIN(kNothing);
  if (!device(a) || !device(b)) return INVALID_DEVICE;
  *can = 0;
  return SUCCESS;
}

// ---- contexts

API cuDevicePrimaryCtxRetain(void **out, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  Context *&p = device(d)->primary;
  if (!p) p = new_context(d, true);
  ++p->retained;
  *out = p;
  return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int d) {
  Call call(__func__, kNothing);
  if (!device(d)) return call.rc ? call.rc : INVALID_DEVICE;
  Context *&p = device(d)->primary;
  if (!p) return call.rc ? call.rc : INVALID_CONTEXT;
  if (--p->retained == 0) {
    destroy_context(p);
    p = nullptr;
  }
  return call.rc;
}
API cuDevicePrimaryCtxRelease(int d) { return cuDevicePrimaryCtxRelease_v2(d); }
API cuDevicePrimaryCtxReset_v2(int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  Context *&p = device(d)->primary;
  if (!p) return SUCCESS;
  destroy_context(p);
  p = nullptr;
  return SUCCESS;
}
API cuDevicePrimaryCtxGetState(int d, unsigned *flags, int *active) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  *flags = device(d)->flags;
  *active = device(d)->primary != nullptr;
  return SUCCESS;
}
API cuDevicePrimaryCtxSetFlags_v2(int d, unsigned flags) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  device(d)->flags = flags;
  return SUCCESS;
}
API cuCtxCreate_v2(void **out, unsigned, int d) {
  BEGIN(kNothing);
  if (!device(d)) return INVALID_DEVICE;
  Context *n = new_context(d, false);
  n->retained = 1;
  current_stack.push_back(n);
  *out = n;
  return SUCCESS;
}
API cuCtxDestroy_v2(void *h) {
  Call call(__func__, kNothing);
  Context *c = as<Context>(h, Kind::kContext, nullptr);
  if (!c || c->primary) return call.rc ? call.rc : INVALID_CONTEXT;
  if (!current_stack.empty() && current_stack.back() == c) current_stack.pop_back();
  c->retained = 0;
  destroy_context(c);
  return call.rc;
}
API cuCtxSetCurrent(void *h) {
  BEGIN(kNothing);
  Context *n = h ? as<Context>(h, Kind::kContext, nullptr) : nullptr;
  if (h && !n) return INVALID_CONTEXT;
  if (!current_stack.empty()) current_stack.pop_back();
  if (n) current_stack.push_back(n);
  return SUCCESS;
}
API cuCtxGetCurrent(void **out) {
  BEGIN(kNothing);
  *out = current_stack.empty() ? nullptr : current_stack.back();
  return SUCCESS;
}
API cuCtxPushCurrent_v2(void *h) {
  BEGIN(kNothing);
  Context *n = as<Context>(h, Kind::kContext, nullptr);
  if (!n) return INVALID_CONTEXT;
  current_stack.push_back(n);
  return SUCCESS;
}
API cuCtxPopCurrent_v2(void **out) {
  BEGIN(kNothing);
  if (current_stack.empty()) return INVALID_CONTEXT;
  if (out) *out = current_stack.back();
  current_stack.pop_back();
  return SUCCESS;
}
API cuCtxGetDevice(int *d) {
  BEGIN(kContext);
  *d = c->device;
  return SUCCESS;
}
API cuCtxGetFlags(unsigned *flags) {
  BEGIN(kContext);
  *flags = device(c->device)->flags;
  return SUCCESS;
}
API cuCtxGetApiVersion(void *, unsigned *v) {
  BEGIN(kContext);
  *v = 3020;
  return SUCCESS;
}
API cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  BEGIN(kContext);
  if (least) *least = 0;
  if (greatest) *greatest = 0;
  return SUCCESS;
}
API cuCtxSynchronize() {
  BEGIN(kContext);
  if (const int rc = refuse_device_wait(c)) return rc;
  return run_all(c);
}

// ---- memory

namespace {
int new_memory(Context *c, size_t n, bool pinned, void **out) {
  if (const int rc = refuse_unsafe(c)) return rc;
  if (!n) return INVALID_VALUE;
  Device &d = *device(c->device);
  if (!pinned && n > d.memory - d.used) return OUT_OF_MEMORY;
  Allocation *a = allocate(n, pinned, c);
  if (!a) return OUT_OF_MEMORY;
  if (!pinned) d.used += n;
  *out = a->p;
  return SUCCESS;
}

// A span of device memory of this context.
bool on_device(Context *c, Pointer p, size_t n) {
  const Allocation *a = find(at(p), n);
  return a && !a->pinned && a->owner == c;
}
bool pinned(const void *p, size_t n) {
  const Allocation *a = find(p, n);
  return a && a->pinned;
}
bool on_some_device(const void *p) {
  const Allocation *a = find(p, 1);
  return a && !a->pinned;
}

enum Wait { kNoWait, kMustWait };

// A copy from pageable memory takes it at the call; one from pinned memory is read when the stream gets to
// it, as the device does. A graph reads either when it runs.
int copy_to_device(Context *c, Pointer to, const void *from, size_t n, Stream *s, Wait wait) {
  if (!s) return INVALID_HANDLE;
  if (!n) return SUCCESS;
  if (!on_device(c, to, n) || on_some_device(from) || !from) return INVALID_VALUE;
  if (find(from, 1) && !find(from, n)) return INVALID_VALUE;
  if (wait && s->capture) return invalidate(s, CAPTURE_UNSUPPORTED);
  Op o;
  o.stream = s;
  if (pinned(from, n) || s->capture) {
    o.work = [=] { memcpy(at(to), from, n); return SUCCESS; };
  } else {
    const char *p = static_cast<const char *>(from);
    auto staged = std::make_shared<std::vector<char>>(p, p + n);
    o.work = [=] { memcpy(at(to), staged->data(), n); return SUCCESS; };
  }
  const int rc = submit(std::move(o));
  return rc || !wait ? rc : run_stream(s);
}
// A copy to pageable memory is done when the call returns.
int copy_to_host(Context *c, void *to, Pointer from, size_t n, Stream *s, Wait wait) {
  if (!s) return INVALID_HANDLE;
  if (!n) return SUCCESS;
  if (!on_device(c, from, n) || on_some_device(to) || !to) return INVALID_VALUE;
  if (find(to, 1) && !find(to, n)) return INVALID_VALUE;
  if (wait && s->capture) return invalidate(s, CAPTURE_UNSUPPORTED);
  Op o;
  o.stream = s;
  o.work = [=] { memcpy(to, at(from), n); return SUCCESS; };
  const int rc = submit(std::move(o));
  return rc || s->capture || (!wait && pinned(to, n)) ? rc : run_stream(s);
}
int copy_on_device(Context *c, Pointer to, Pointer from, size_t n, Stream *s) {
  if (!s) return INVALID_HANDLE;
  if (!n) return SUCCESS;
  if (!on_device(c, to, n) || !on_device(c, from, n)) return INVALID_VALUE;
  Op o;
  o.stream = s;
  o.work = [=] { memmove(at(to), at(from), n); return SUCCESS; };
  return submit(std::move(o));
}
int copy_any(Context *c, Pointer to, Pointer from, size_t n, Stream *s, Wait wait) {
  const bool to_device = on_some_device(at(to)), from_device = on_some_device(at(from));
  if (to_device && from_device) return copy_on_device(c, to, from, n, s);
  if (to_device) return copy_to_device(c, to, at(from), n, s, wait);
  if (from_device) return copy_to_host(c, at(to), from, n, s, wait);
  return n ? INVALID_VALUE : SUCCESS;
}
template <class T> int fill(Context *c, Pointer p, T v, size_t n, Stream *s) {
  if (!s) return INVALID_HANDLE;
  if (!n) return SUCCESS;
  if (n > SIZE_MAX / sizeof(T) || p % sizeof(T) || !on_device(c, p, n * sizeof(T))) return INVALID_VALUE;
  Op o;
  o.stream = s;
  o.work = [=] { std::fill_n(static_cast<T *>(at(p)), n, v); return SUCCESS; };
  return submit(std::move(o));
}
}  // namespace

API cuMemAlloc_v2(Pointer *p, size_t n) {
  BEGIN(kContext);
  void *out;
  if (const int rc = new_memory(c, n, false, &out)) return rc;
  *p = Pointer(uintptr_t(out));
  return SUCCESS;
}
API cuMemFree_v2(Pointer p) {
  BEGIN_FREE;
  if (!p) return call.rc;
  if (const int refused = call.rc ? 0 : refuse_unsafe(c)) return refused;
  if (!call.rc) call.rc = run_all(c);       // the driver waits for work that may use it
  const int rc = free_memory(c, at(p), false);
  return call.rc ? call.rc : rc;
}
API cuMemHostAlloc(void **p, size_t n, unsigned) {
  BEGIN(kContext);
  return new_memory(c, n, true, p);
}
API cuMemAllocHost_v2(void **p, size_t n) {
  BEGIN(kContext);
  return new_memory(c, n, true, p);
}
API cuMemFreeHost(void *p) {
  BEGIN_FREE;
  if (const int refused = call.rc ? 0 : refuse_unsafe(c)) return refused;
  if (!call.rc) call.rc = run_all(c);
  const int rc = free_memory(c, p, true);
  return call.rc ? call.rc : rc;
}
API cuMemHostGetDevicePointer_v2(Pointer *d, void *p, unsigned) {
  BEGIN(kContext);
  if (!pinned(p, 1)) return INVALID_VALUE;
  *d = Pointer(uintptr_t(p));
  return SUCCESS;
}
API cuMemGetInfo_v2(size_t *available, size_t *total) {
  BEGIN(kContext);
  *total = device(c->device)->memory;
  *available = *total - device(c->device)->used;
  return SUCCESS;
}
API cuMemGetAddressRange_v2(Pointer *base, size_t *n, Pointer p) {
  BEGIN(kContext);
  const Allocation *a = find(at(p), 1);
  if (!a) return NOT_FOUND;
  if (base) *base = Pointer(uintptr_t(a->p));
  if (n) *n = a->size;
  return SUCCESS;
}
API cuPointerGetAttribute(void *out, int attribute, Pointer p) {
  BEGIN(kContext);
  const Allocation *a = find(at(p), 1);
  if (!a) return INVALID_VALUE;
  switch (attribute) {
    case 1: *static_cast<void **>(out) = a->owner; return SUCCESS;
    case 2: *static_cast<unsigned *>(out) = a->pinned ? 1 : 2; return SUCCESS;   // host or device
    case 3: *static_cast<Pointer *>(out) = p; return SUCCESS;
    case 9: *static_cast<int *>(out) = static_cast<Context *>(a->owner)->device; return SUCCESS;
  }
  return NOT_SUPPORTED;
}

#define STREAM(h) stream_of(h, c)
API cuMemcpyHtoD_v2(Pointer d, const void *s, size_t n) {
  BEGIN(kContext);
  return copy_to_device(c, d, s, n, c->null_stream, kMustWait);
}
API cuMemcpyDtoH_v2(void *d, Pointer s, size_t n) {
  BEGIN(kContext);
  return copy_to_host(c, d, s, n, c->null_stream, kMustWait);
}
API cuMemcpyDtoD_v2(Pointer d, Pointer s, size_t n) {
  BEGIN(kContext);
  return copy_on_device(c, d, s, n, c->null_stream);
}
API cuMemcpyHtoDAsync_v2(Pointer d, const void *s, size_t n, void *h) {
  BEGIN(kContext);
  return copy_to_device(c, d, s, n, STREAM(h), kNoWait);
}
API cuMemcpyDtoHAsync_v2(void *d, Pointer s, size_t n, void *h) {
  BEGIN(kContext);
  return copy_to_host(c, d, s, n, STREAM(h), kNoWait);
}
API cuMemcpyDtoDAsync_v2(Pointer d, Pointer s, size_t n, void *h) {
  BEGIN(kContext);
  return copy_on_device(c, d, s, n, STREAM(h));
}
API cuMemcpy(Pointer d, Pointer s, size_t n) {
  BEGIN(kContext);
  return copy_any(c, d, s, n, c->null_stream, kMustWait);
}
API cuMemcpyAsync(Pointer d, Pointer s, size_t n, void *h) {
  BEGIN(kContext);
  return copy_any(c, d, s, n, STREAM(h), kNoWait);
}
API cuMemsetD8_v2(Pointer d, unsigned char v, size_t n) { BEGIN(kContext); return fill(c, d, v, n, c->null_stream); }
API cuMemsetD16_v2(Pointer d, unsigned short v, size_t n) { BEGIN(kContext); return fill(c, d, v, n, c->null_stream); }
API cuMemsetD32_v2(Pointer d, unsigned v, size_t n) { BEGIN(kContext); return fill(c, d, v, n, c->null_stream); }
API cuMemsetD8Async(Pointer d, unsigned char v, size_t n, void *h) { BEGIN(kContext); return fill(c, d, v, n, STREAM(h)); }
API cuMemsetD16Async(Pointer d, unsigned short v, size_t n, void *h) { BEGIN(kContext); return fill(c, d, v, n, STREAM(h)); }
API cuMemsetD32Async(Pointer d, unsigned v, size_t n, void *h) { BEGIN(kContext); return fill(c, d, v, n, STREAM(h)); }

// ---- modules and functions

namespace {
// What a JIT log buffer gets: an empty string; and 0 as its size filled. Other options are ignored.
void empty_logs(unsigned n, const int *options, void **values) {
  for (unsigned i = 0; options && values && i < n; ++i) {
    if ((options[i] == 3 || options[i] == 5) && values[i]) *static_cast<char *>(values[i]) = 0;
    if (options[i] == 4 || options[i] == 6) values[i] = nullptr;
  }
}
int load_module(Context *c, const void *image, void **out) {
  if (const int rc = refuse_unsafe(c)) return rc;
  std::map<std::string, ImageKernel> found;
  if (const int rc = read_image(image, device(c->device)->capability, &found)) return rc;
  Module *m = create<Module>(c);
  for (auto &kv : found) m->functions[kv.first] = create<Function>(c, kv.second);
  *out = m;
  return SUCCESS;
}
}  // namespace
API cuModuleLoadData(void **m, const void *image) { BEGIN(kContext); return load_module(c, image, m); }
API cuModuleLoadFatBinary(void **m, const void *image) { BEGIN(kContext); return load_module(c, image, m); }
API cuModuleLoadDataEx(void **m, const void *image, unsigned n, int *options, void **values) {
  BEGIN(kContext);
  empty_logs(n, options, values);
  return load_module(c, image, m);
}
API cuModuleUnload(void *h) {
  BEGIN_FREE;
  Module *m = as<Module>(h, Kind::kModule, c);
  if (!m) return call.rc ? call.rc : INVALID_HANDLE;
  if (const int refused = call.rc ? 0 : refuse_unsafe(c)) return refused;
  if (!call.rc) call.rc = run_all(c);
  m->alive = false;
  for (auto &kv : m->functions) kv.second->alive = false;
  return call.rc;
}
API cuModuleGetFunction(void **f, void *h, const char *name) {
  BEGIN(kContext);
  Module *m = as<Module>(h, Kind::kModule, c);
  if (!m) return INVALID_HANDLE;
  auto it = m->functions.find(name);
  if (it == m->functions.end()) return NOT_FOUND;
  *f = it->second;
  return SUCCESS;
}
API cuFuncSetAttribute(void *h, int attribute, int v) {
  BEGIN(kContext);
  Function *f = as<Function>(h, Kind::kFunction, c);
  if (!f) return INVALID_HANDLE;
  if (attribute == 8) {                     // dynamic shared memory
    if (v < 0 || v + int(f->image.static_shared) > opt_in_shared(device(c->device)->capability) << 10) return INVALID_VALUE;
    f->dynamic_limit = v;
    return SUCCESS;
  }
  return attribute == 9 ? SUCCESS : INVALID_VALUE;   // 9: a hint on the share of the cache
}
API cuFuncGetAttribute(int *v, int attribute, void *h) {
  BEGIN(kContext);
  Function *f = as<Function>(h, Kind::kFunction, c);
  if (!f) return INVALID_HANDLE;
  switch (attribute) {
    case 0: *v = f->image.max_threads; break;
    case 1: *v = int(f->image.static_shared); break;
    case 4: *v = 64; break;                 // registers: g++ cannot know
    case 5: *v = 70; break;                 // PTX version
    case 6: *v = device(c->device)->capability; break;
    case 8: *v = f->dynamic_limit; break;
    default: *v = 0;                        // constant and local memory, ...
  }
  return SUCCESS;
}
API cuFuncSetCacheConfig(void *h, int) {
  BEGIN(kContext);
  return as<Function>(h, Kind::kFunction, c) ? SUCCESS : INVALID_HANDLE;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *h, int block, size_t dynamic) {
  BEGIN(kContext);
  Function *f = as<Function>(h, Kind::kFunction, c);
  if (!f) return INVALID_HANDLE;
  if (block < 1) return INVALID_VALUE;
  const size_t shared = size_t(opt_in_shared(device(c->device)->capability)) << 10, each = dynamic + f->image.static_shared;
  *n = block > f->image.max_threads ? 0 : 1024 / block;      // 64 registers a thread of 65536
  if (each) *n = std::min(*n, int(shared / each));
  return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, void *h, int block, size_t dynamic, unsigned) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(n, h, block, dynamic);
}

namespace {
std::string argument(const Kernel *k, size_t i) {
  return std::string("kernel ") + k->name + ", argument " + std::to_string(i) + ": ";
}

// Runs a kernel, and looks at its pointers before and after. Only memory that an argument points into can be
// hurt without a fault, so these canaries are enough; freeing looks at the others.
int run_kernel(const Launch &l, const std::vector<std::pair<size_t, const void *>> &pointers) {
  for (auto &arg : pointers) {
    if (find(arg.second, 0)) continue;
    report(ILLEGAL_ADDRESS, argument(l.kernel, arg.first) + "not device memory, or no longer: " + describe(arg.second));
    return ILLEGAL_ADDRESS;
  }
  std::string why;
  int rc = execute(l, &why);
  for (auto &arg : pointers) {
    const Allocation *a = find(arg.second, 0);
    if (rc || !a || intact(*a)) continue;
    rc = ILLEGAL_ADDRESS;
    why = argument(l.kernel, arg.first) + "wrote outside an allocation of " + std::to_string(a->size) + " bytes";
  }
  if (rc) report(rc, why);
  return rc;
}
}  // namespace

API cuLaunchKernel(void *h, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned dynamic, void *stream, void **params, void **extra) {
  BEGIN(kContext);
  static const bool log = getenv("CUSIM_LOG") != nullptr;
  Function *f = as<Function>(h, Kind::kFunction, c);
  Stream *s = STREAM(stream);
  if (!f || !s) return INVALID_HANDLE;
  const Kernel *k = f->image.kernel;
  if (extra || (k->params && !params)) return INVALID_VALUE;
  if (!gx || !gy || !gz || !bx || !by || !bz || gx > 0x7fffffffu || gy > 65535 || gz > 65535) return INVALID_VALUE;
  if (bx > 1024 || by > 1024 || bz > 64 || bx * by * bz > unsigned(f->image.max_threads)) return INVALID_VALUE;
  if (dynamic > unsigned(std::max(0, f->dynamic_limit))) return INVALID_VALUE;
  std::vector<std::pair<size_t, const void *>> pointers;
  for (int i = 0; i < k->params; ++i) {
    const void *p;
    if (!k->pointers[i]) continue;
    memcpy(&p, params[i], sizeof p);
    if (!p) continue;
    const Allocation *a = find(p, 0);
    if (a && !a->pinned && a->owner != c) {
      fprintf(stderr, "cusim: %smemory of another context\n", argument(k, size_t(i)).c_str());
      return INVALID_VALUE;
    }
    pointers.push_back({size_t(i), p});
  }
  std::shared_ptr<void> args(k->pack(params), k->drop);
  if (log) fprintf(stderr, "cusim: launch %s <<<(%u,%u,%u),(%u,%u,%u),%u>>>\n", k->name, gx, gy, gz, bx, by, bz, dynamic);
  const Launch l{k, args.get(), {gx, gy, gz}, {bx, by, bz}, dynamic};
  Op o;
  o.stream = s;
  o.kernel = k;
  o.work = [=] { (void)args; return run_kernel(l, pointers); };
  return submit(std::move(o));
}

// ---- streams and events

API cuStreamCreate(void **s, unsigned flags) {
  BEGIN(kContext);
  *s = create<Stream>(c, flags);
  return SUCCESS;
}
API cuStreamCreateWithPriority(void **s, unsigned flags, int) {
  BEGIN(kContext);
  *s = create<Stream>(c, flags);
  return SUCCESS;
}
API cuStreamDestroy_v2(void *h) {
  BEGIN_FREE;
  Stream *s = as<Stream>(h, Kind::kStream, c);
  if (!s || s == c->null_stream) return call.rc ? call.rc : INVALID_HANDLE;
  // Its pending work stays in the queue: the driver lets it end by itself, and does not wait here either.
  if (s->capture) --captures;
  s->capture.reset();
  s->alive = false;
  return call.rc;
}
API cuStreamSynchronize(void *h) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  if (!s) return INVALID_HANDLE;
  if (const int rc = refuse_wait(s)) return rc;
  return run_stream(s);
}
API cuStreamQuery(void *h) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  if (!s) return INVALID_HANDLE;
  if (const int rc = refuse_wait(s)) return rc;
  const bool busy = std::any_of(c->queue.begin(), c->queue.end(), [=](const Op &o) { return o.stream == s; });
  if (!busy) return SUCCESS;
  const int rc = run_stream(s);             // so that the next query finds it ready
  return rc ? rc : NOT_READY;
}
API cuStreamGetFlags(void *h, unsigned *flags) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  if (!s) return INVALID_HANDLE;
  *flags = s->flags;
  return SUCCESS;
}
API cuStreamGetPriority(void *h, int *priority) {
  BEGIN(kContext);
  if (!STREAM(h)) return INVALID_HANDLE;
  *priority = 0;
  return SUCCESS;
}
API cuStreamWaitEvent(void *h, void *event, unsigned) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  Event *e = as<Event>(event, Kind::kEvent, c);
  if (!s || !e) return INVALID_HANDLE;
  if (e->captured) {
    if (e->captured == s && s->capture) return SUCCESS;   // in one stream the order is kept anyway
    fprintf(stderr, "cusim: captures over several streams are not simulated\n");
    return NOT_SUPPORTED;
  }
  if (s->capture) return invalidate(s, 905);  // STREAM_CAPTURE_ISOLATION: work outside the capture
  if (e->done == e->recorded) return SUCCESS;
  Op o;
  o.stream = s;
  o.wait = e;
  o.version = e->recorded;
  return submit(std::move(o));
}
API cuEventCreate(void **e, unsigned flags) {
  BEGIN(kContext);
  *e = create<Event>(c, flags);
  return SUCCESS;
}
API cuEventDestroy_v2(void *h) {
  BEGIN_FREE;
  Event *e = as<Event>(h, Kind::kEvent, c);
  if (!e) return call.rc ? call.rc : INVALID_HANDLE;
  e->alive = false;                         // pending records and waits keep working on it
  return call.rc;
}
API cuEventRecord(void *h, void *stream) {
  BEGIN(kContext);
  Event *e = as<Event>(h, Kind::kEvent, c);
  Stream *s = STREAM(stream);
  if (!e || !s) return INVALID_HANDLE;
  if (s->capture) {
    e->captured = s;
    return s->capture->invalid ? CAPTURE_INVALIDATED : SUCCESS;
  }
  Op o;
  o.stream = s;
  o.record = e;
  o.version = ++e->recorded;
  e->captured = nullptr;
  return submit(std::move(o));
}
API cuEventQuery(void *h) {
  BEGIN(kContext);
  Event *e = as<Event>(h, Kind::kEvent, c);
  if (!e) return INVALID_HANDLE;
  if (e->captured) return e->captured->capture ? invalidate(e->captured, CAPTURED_EVENT) : CAPTURED_EVENT;
  if (e->done == e->recorded) return SUCCESS;
  const int rc = run(c, [=](const Op &o) { return o.record == e; });   // so that the next query finds it done
  return rc ? rc : NOT_READY;
}
API cuEventSynchronize(void *h) {
  BEGIN(kContext);
  Event *e = as<Event>(h, Kind::kEvent, c);
  if (!e) return INVALID_HANDLE;
  if (e->captured) return e->captured->capture ? invalidate(e->captured, CAPTURED_EVENT) : CAPTURED_EVENT;
  return run(c, [=](const Op &o) { return o.record == e; });
}
API cuEventElapsedTime(float *ms, void *from, void *to) {
  BEGIN(kContext);
  Event *a = as<Event>(from, Kind::kEvent, c), *b = as<Event>(to, Kind::kEvent, c);
  if (!a || !b || !a->timing || !b->timing || !a->recorded || !b->recorded) return INVALID_HANDLE;
  if (a->done != a->recorded || b->done != b->recorded) return NOT_READY;
  *ms = float(b->ms - a->ms);
  return SUCCESS;
}
API cuEventElapsedTime_v2(float *ms, void *from, void *to) { return cuEventElapsedTime(ms, from, to); }

// ---- graphs

API cuStreamBeginCapture_v2(void *h, int mode) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  if (!s) return INVALID_HANDLE;
  if (s == c->null_stream) return CAPTURE_UNSUPPORTED;
  if (s->capture || mode < 0 || mode > 2) return INVALID_VALUE;
  s->capture = std::make_unique<Capture>();
  s->capture->mode = mode;
  s->capture->thread = pthread_self();
  ++captures;
  return SUCCESS;
}
// A capture that failed, or an injected failure here, has ended all the same.
API cuStreamEndCapture(void *h, void **out) {
  BEGIN_FREE;
  Stream *s = STREAM(h);
  if (!s) return call.rc ? call.rc : INVALID_HANDLE;
  if (!s->capture) return call.rc ? call.rc : ILLEGAL_STATE;
  if (!call.rc && s->capture->mode != 2 && !pthread_equal(s->capture->thread, pthread_self())) return CAPTURE_WRONG_THREAD;
  const std::unique_ptr<Capture> done = std::move(s->capture);
  --captures;
  if (out) *out = nullptr;
  if (call.rc || done->invalid) return call.rc ? call.rc : CAPTURE_INVALIDATED;
  Graph *g = create<Graph>(c, Kind::kGraph);
  g->ops = std::move(done->ops);
  *out = g;
  return SUCCESS;
}
API cuStreamIsCapturing(void *h, int *status) {
  BEGIN(kContext);
  Stream *s = STREAM(h);
  if (!s) return INVALID_HANDLE;
  *status = !s->capture ? 0 : s->capture->invalid ? 2 : 1;
  return SUCCESS;
}
API cuGraphInstantiateWithFlags(void **out, void *h, unsigned long long) {
  BEGIN(kContext);
  Graph *g = as<Graph>(h, Kind::kGraph, c);
  if (!g) return INVALID_VALUE;
  Graph *x = create<Graph>(c, Kind::kExec);
  x->ops = g->ops;
  *out = x;
  return SUCCESS;
}
API cuGraphLaunch(void *h, void *stream) {
  BEGIN(kContext);
  Graph *x = as<Graph>(h, Kind::kExec, c);
  Stream *s = STREAM(stream);
  if (!x) return INVALID_VALUE;
  if (!s) return INVALID_HANDLE;
  if (s->capture) {
    fprintf(stderr, "cusim: the capture of a graph launch is not simulated\n");
    return invalidate(s, NOT_SUPPORTED);
  }
  for (Op o : x->ops) {
    o.stream = s;
    if (const int rc = submit(std::move(o))) return rc;
  }
  return SUCCESS;
}
namespace {
int destroy_graph(const Call &call, void *h, Kind kind) {
  Graph *g = as<Graph>(h, kind, call.context);
  if (!g) return call.rc ? call.rc : INVALID_VALUE;
  g->alive = false;
  g->ops.clear();                           // pending launches have copies
  return call.rc;
}
}  // namespace
API cuGraphDestroy(void *h) {
  Call call(__func__, kContext);
  return call.context ? destroy_graph(call, h, Kind::kGraph) : call.rc;
}
API cuGraphExecDestroy(void *h) {
  Call call(__func__, kContext);
  return call.context ? destroy_graph(call, h, Kind::kExec) : call.rc;
}

// ---- control, for tests; cusim.go calls these

#define CONTROL extern "C" __attribute__((visibility("default")))
#define LOCK std::lock_guard<std::recursive_mutex> lock(mutex)

// The nth counted call from now returns code. 0: none does.
CONTROL void cusim_fail(long nth, int code) {
  LOCK;
  fail_call = nth > 0 ? calls + nth : 0;
  fail_call_code = code;
  failed_call.clear();
}
// The nth launch from now is accepted; its context fails with code at the next wait.
CONTROL void cusim_fail_async(long nth, int code) {
  LOCK;
  fail_launch = nth > 0 ? launches + nth : 0;
  fail_launch_code = code;
  failed_call.clear();
}
CONTROL long cusim_calls() { LOCK; return calls; }
CONTROL const char *cusim_failed_call() { LOCK; return keep(failed_call); }
CONTROL long cusim_launches() { LOCK; return launches; }
CONTROL long cusim_launches_of(const char *kernel) {
  LOCK;
  auto it = launches_of.find(kernel);
  return it == launches_of.end() ? 0 : it->second;
}
// What is alive now, over all devices; a context counts as often as it is retained.
CONTROL long cusim_live() {
  LOCK;
  long n = 0;
  for (auto &kv : objects) {
    Object *o = kv.second.get();
    n += counted(o);
    if (o->kind != Kind::kContext || !o->alive) continue;
    n += static_cast<Context *>(o)->retained + long(allocations_of(o).size());
  }
  return n;
}
CONTROL long cusim_leaked() { LOCK; return leaked; }
CONTROL const char *cusim_log() { LOCK; return keep(last_error); }
// Forgets injections and sticky errors, and with them the work that was pending.
CONTROL void cusim_reset() {
  LOCK;
  fail_call = fail_launch = 0;
  failed_call.clear();
  last_error.clear();
  last_error_code = 0;
  for (auto &kv : objects) {
    if (kv.second->kind != Kind::kContext) continue;
    Context *c = static_cast<Context *>(kv.second.get());
    if (c->sticky) c->queue.clear();
    c->sticky = 0;
  }
}
