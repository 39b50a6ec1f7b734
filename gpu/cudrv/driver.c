//go:build cuda && linux && cgo

// The driver's functions, bound when the program first asks for devices. Each is a jump through a
// pointer, so arguments and result pass untouched, whatever the function's type.
//
// gorgonia.org/cu calls cuInit from its init, and on any error prints it and exits. So cuInit here
// does nothing and succeeds: a program without a driver runs, and one that uses no GPU does not
// pay for the driver's start.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

// Hidden, for a program may export its symbols, and then the driver's calls of its own functions
// would end up here: in the cuInit that does nothing.
#define HIDDEN __attribute__((visibility("hidden"), used))

enum { kSuccess = 0, kInvalidValue = 1, kNotInitialized = 3, kNoDevice = 100, kNotFound = 500 };

static int code = kNotInitialized;  // what every function returns until the driver is there

HIDDEN int cudrv_no_driver(void) { return code; }
static int no_symbol(void) { return kNotFound; }

#if defined(__x86_64__)
#define JUMP(n) "  endbr64\n  jmp *cudrv_p_" #n "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(n) "  hint #34\n  adrp x16, cudrv_p_" #n "\n  ldr x16, [x16, #:lo12:cudrv_p_" #n "]\n  br x16\n"
#else
#error "the CUDA backend is for amd64 and arm64: build without the tag cuda"
#endif
#define F(n)                                                \
  HIDDEN void *cudrv_p_##n = (void *)cudrv_no_driver;       \
  __asm__(".pushsection .text\n.balign 16\n.globl " #n "\n" \
          ".hidden " #n "\n.type " #n ", %function\n"       \
          #n ":\n" JUMP(n) ".size " #n ", . - " #n "\n.popsection\n");
#include "symbols.h"
#undef F

// What cuInit can return.
static const struct {
  int code;
  const char *name;
} names[] = {
    {0, "CUDA_SUCCESS"},
    {1, "CUDA_ERROR_INVALID_VALUE"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY"},
    {3, "CUDA_ERROR_NOT_INITIALIZED"},
    {4, "CUDA_ERROR_DEINITIALIZED"},
    {34, "CUDA_ERROR_STUB_LIBRARY"},
    {36, "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
    {100, "CUDA_ERROR_NO_DEVICE"},
    {101, "CUDA_ERROR_INVALID_DEVICE"},
    {102, "CUDA_ERROR_DEVICE_NOT_LICENSED"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
    {302, "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND"},
    {303, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED"},
    {304, "CUDA_ERROR_OPERATING_SYSTEM"},
    {500, "CUDA_ERROR_NOT_FOUND"},
    {800, "CUDA_ERROR_NOT_PERMITTED"},
    {801, "CUDA_ERROR_NOT_SUPPORTED"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
    {804, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"},
    {999, "CUDA_ERROR_UNKNOWN"},
};

static const char *name_of(int c) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].code == c) return names[i].name;
  return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[1024];
static int (*real_count)(int *);
static int (*real_version)(int *);
static int (*real_name)(int, const char **);
static int (*real_string)(int, const char **);

static void failed(const char *lib, const char *call, int c) {
  const char *name = name_of(c);
  snprintf(why, sizeof why, "%s of %s failed with %s (%d)", call, lib, name ? name : "CUDA error", c);
  code = c;
}

static void load(void) {
  code = kNoDevice;
  const char *lib = secure_getenv("ADVSWEEP_LIBCUDA");
  const char *set = lib && *lib ? "ADVSWEEP_LIBCUDA: " : "";
  if (!*set) lib = "libcuda.so.1";
  void *h = dlopen(lib, RTLD_NOW | RTLD_LOCAL);
  if (!h) {
    snprintf(why, sizeof why, "%sno NVIDIA driver: %s", set, dlerror());
    return;
  }
  int (*init)(unsigned) = (int (*)(unsigned))dlsym(h, "cuInit");
  int (*count)(int *) = (int (*)(int *))dlsym(h, "cuDeviceGetCount");
  int (*version)(int *) = (int (*)(int *))dlsym(h, "cuDriverGetVersion");
  if (!init || !count || !version) {
    snprintf(why, sizeof why, "%s%s is no CUDA driver", set, lib);
    return;
  }
  int c = init(0), n = 0;
  if (c != kSuccess) {
    failed(lib, "cuInit", c);
    return;
  }
  if ((c = count(&n)) != kSuccess) {
    failed(lib, "cuDeviceGetCount", c);
    return;
  }
  if (n <= 0) {
    snprintf(why, sizeof why, "%s finds no device", lib);
    return;
  }
  real_count = count;
  real_version = version;
  real_name = (int (*)(int, const char **))dlsym(h, "cuGetErrorName");
  real_string = (int (*)(int, const char **))dlsym(h, "cuGetErrorString");
#define F(f)                                        \
  {                                                 \
    void *p = dlsym(h, #f);                         \
    cudrv_p_##f = p ? p : (void *)no_symbol;        \
  }
#include "symbols.h"
#undef F
}

HIDDEN int cuInit(unsigned flags) { return flags ? kInvalidValue : kSuccess; }

HIDDEN int cuDeviceGetCount(int *n) {
  pthread_once(&once, load);
  if (real_count) return real_count(n);
  *n = 0;
  return kSuccess;
}

HIDDEN int cuDriverGetVersion(int *v) {
  pthread_once(&once, load);
  if (real_version) return real_version(v);
  *v = 0;
  return kSuccess;
}

// Both write *s whatever happens: callers print it.
HIDDEN int cuGetErrorName(int c, const char **s) {
  if (real_name) return real_name(c, s);
  *s = name_of(c);
  return *s ? kSuccess : kInvalidValue;
}

HIDDEN int cuGetErrorString(int c, const char **s) {
  if (real_string) return real_string(c, s);
  *s = name_of(c);
  return *s ? kSuccess : kInvalidValue;
}

HIDDEN const char *cudrv_why(void) {
  pthread_once(&once, load);
  return why;
}
