//go:build ignore

// What the parts of the simulator know of each other: memory.cpp, exec.cpp, mma.cpp, image.cpp and
// driver.cpp. A .cu file never sees this.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "device.h"

#if defined(CUSIM_ASAN)
extern "C" {
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size);
void __asan_poison_memory_region(void const volatile *, size_t);
void __asan_unpoison_memory_region(void const volatile *, size_t);
}
#endif

namespace cusim {

// Result codes of the driver, without their prefix CUDA_ERROR_.
enum Result : int {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  DEVICE_UNAVAILABLE = 46,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY_FOR_GPU = 209,
  ECC_UNCORRECTABLE = 214,
  UNSUPPORTED_PTX_VERSION = 222,
  INVALID_HANDLE = 400,
  ILLEGAL_STATE = 401,
  NOT_FOUND = 500,
  NOT_READY = 600,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_OUT_OF_RESOURCES = 701,
  LAUNCH_TIMEOUT = 702,
  MISALIGNED_ADDRESS = 716,
  LAUNCH_FAILED = 719,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_UNMATCHED = 903,
  CAPTURE_IMPLICIT = 906,
  CAPTURED_EVENT = 907,
  CAPTURE_WRONG_THREAD = 908,
};

// ---- memory.cpp

// Allocation is device memory, or pinned host memory. Its end touches an unreadable page, up to 16
// bytes of alignment; what lies between its pages' edges and itself holds canaries.
struct Allocation {
  char *p;
  size_t size;
  bool pinned;
  void *owner;                   // the context
  char *map;
  size_t map_size;
  size_t before, after;          // bytes of canary on each side
};
Allocation *allocate(size_t n, bool pinned, void *owner);  // all NaN; null if the host has no memory
Allocation *find(const void *p, size_t n);                 // the allocation that holds [p, p+n)
bool intact(const Allocation &a);                          // false: a canary was overwritten
bool release(Allocation *a);                               // as intact, before it is gone
std::vector<Allocation *> allocations_of(const void *owner);
std::string describe(const void *p);                       // where an address lies

// ---- exec.cpp

struct Launch {
  const Kernel *kernel;
  void *args;                    // from kernel->pack
  dim3 grid, block;
  unsigned dynamic_shared;
};
// execute runs a kernel to its end. On failure it says why, with kernel, block and thread.
int execute(const Launch &l, std::string *why);

// ---- mma.cpp

// tensor_core computes D ← A·B + D for a warp as a tensor core does; see there.
void tensor_core(Warp &w);

// ---- image.cpp

struct ImageKernel {
  const Kernel *kernel;
  int max_threads;
  size_t static_shared;
};
// read_image says which of the host's kernels an image holds; capability is 75, 80, ...
int read_image(const void *image, int capability, std::map<std::string, ImageKernel> *out);

}  // namespace cusim
