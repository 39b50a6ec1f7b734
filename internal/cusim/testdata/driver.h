// The entry points that selftest.cpp uses, bound by dlsym.
#pragma once
#include <dlfcn.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

using Pointer = unsigned long long;
#define ENTRY_POINTS(F)                                                                                          \
  F(int, cuInit, unsigned) F(int, cuDeviceGetAttribute, int *, int, int) F(int, cuDeviceGetCount, int *)          \
  F(int, cuDevicePrimaryCtxRetain, void **, int) F(int, cuDevicePrimaryCtxRelease_v2, int)                        \
  F(int, cuCtxSetCurrent, void *) F(int, cuCtxGetCurrent, void **) F(int, cuCtxSynchronize)                       \
  F(int, cuMemAlloc_v2, Pointer *, size_t) F(int, cuMemFree_v2, Pointer) F(int, cuMemFreeHost, void *)            \
  F(int, cuMemAllocHost_v2, void **, size_t) F(int, cuMemGetInfo_v2, size_t *, size_t *)                          \
  F(int, cuMemcpyHtoD_v2, Pointer, const void *, size_t) F(int, cuMemcpyDtoH_v2, void *, Pointer, size_t)         \
  F(int, cuMemcpyHtoDAsync_v2, Pointer, const void *, size_t, void *)                                            \
  F(int, cuMemcpyDtoHAsync_v2, void *, Pointer, size_t, void *)                                                  \
  F(int, cuMemcpyDtoD_v2, Pointer, Pointer, size_t) F(int, cuMemsetD32_v2, Pointer, unsigned, size_t)             \
  F(int, cuMemsetD32Async, Pointer, unsigned, size_t, void *)                                                    \
  F(int, cuModuleLoadData, void **, const void *) F(int, cuModuleUnload, void *)                                 \
  F(int, cuModuleLoadDataEx, void **, const void *, unsigned, int *, void **)                                    \
  F(int, cuModuleGetFunction, void **, void *, const char *) F(int, cuFuncSetAttribute, void *, int, int)         \
  F(int, cuFuncGetAttribute, int *, int, void *)                                                                 \
  F(int, cuLaunchKernel, void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,    \
    void **, void **)                                                                                            \
  F(int, cuStreamCreate, void **, unsigned) F(int, cuStreamDestroy_v2, void *) F(int, cuStreamSynchronize, void *) \
  F(int, cuStreamQuery, void *) F(int, cuStreamWaitEvent, void *, void *, unsigned)                              \
  F(int, cuEventCreate, void **, unsigned) F(int, cuEventDestroy_v2, void *) F(int, cuEventRecord, void *, void *) \
  F(int, cuEventSynchronize, void *) F(int, cuEventQuery, void *)                                                \
  F(int, cuEventElapsedTime, float *, void *, void *) F(int, cuStreamBeginCapture_v2, void *, int)                \
  F(int, cuStreamEndCapture, void *, void **)                                                                    \
  F(int, cuGraphInstantiateWithFlags, void **, void *, unsigned long long) F(int, cuGraphLaunch, void *, void *)  \
  F(int, cuGraphDestroy, void *) F(int, cuGraphExecDestroy, void *)                                              \
  F(int, cuGetErrorName, int, const char **) F(int, cuGetErrorString, int, const char **)                        \
  F(void, cusim_fail, long, int) F(void, cusim_fail_async, long, int) F(long, cusim_calls)                       \
  F(const char *, cusim_failed_call) F(long, cusim_live) F(long, cusim_leaked) F(const char *, cusim_log)         \
  F(long, cusim_launches) F(long, cusim_launches_of, const char *) F(void, cusim_reset)                          \
  F(void, cusim_mma, const float *, const float *, float *, int)
#define DECLARE(result, name, ...) static result (*name)(__VA_ARGS__);
ENTRY_POINTS(DECLARE)
#undef DECLARE

static void bind(const char *path) {
  void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!h) {
    fprintf(stderr, "%s\n", dlerror());
    exit(2);
  }
#define BIND(result, name, ...)                                     \
  name = reinterpret_cast<result (*)(__VA_ARGS__)>(dlsym(h, #name)); \
  if (!name) {                                                      \
    fprintf(stderr, "no entry point " #name "\n");                  \
    exit(2);                                                        \
  }
  ENTRY_POINTS(BIND)
#undef BIND
}
