// What differs between nvcc and the simulator's host compiler (internal/cusim), which runs
// these sources in the tests. All inline PTX of the project is in this file; every other
// line of the kernels is plain CUDA C++ that both compile.
#pragma once

#ifdef CUSIM
#include "device.h"
#define DYNAMIC_SHARED(name) float *name = static_cast<float *>(cusim::dyn_shared())
#else
#include <stdint.h>
#define DYNAMIC_SHARED(name)                                                     \
  extern __shared__ __align__(16) unsigned char dynamic_shared_[];               \
  float *name = reinterpret_cast<float *>(dynamic_shared_)
#endif

#define FULL_WARP 0xffffffffu

// copy16_async copies 16 bytes from global to shared memory, or writes 16 zero bytes and reads
// nothing if !valid. Both addresses are multiples of 16. It is asynchronous from sm_80 on. The
// copying thread waits with copy_async_wait, and the block then meets at __syncthreads.
__device__ __forceinline__ void copy16_async(void *smem, const void *gmem, bool valid) {
#if defined(CUSIM)
  cusim::cp_async16(smem, gmem, valid);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned s = static_cast<unsigned>(__cvta_generic_to_shared(smem));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s), "l"(gmem), "r"(valid ? 16 : 0) : "memory");
#else
  *static_cast<float4 *>(smem) = valid ? *static_cast<const float4 *>(gmem) : make_float4(0.f, 0.f, 0.f, 0.f);
#endif
}

// copy_async_commit closes the group of the copies since the last one.
__device__ __forceinline__ void copy_async_commit() {
#if defined(CUSIM)
  cusim::cp_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// copy_async_wait waits until at most Pending of the thread's groups are under way.
template <int Pending> __device__ __forceinline__ void copy_async_wait() {
#if defined(CUSIM)
  cusim::cp_async_wait(Pending);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

#if defined(CUSIM) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800)
#define HAVE_TENSOR_CORES 1

// mma_16x8x8 computes d ← a·b + d on one warp's tensor cores. a [16, 8] and b [8, 8] are of TF32,
// the low 13 bits of a register being 0. d [16, 8] is of FP32. With g = lane/4 and q = lane%4 a
// thread holds
//
//	a[0..3] = A[g, q], A[g+8, q], A[g, q+4], A[g+8, q+4]
//	b[0..1] = B[q, g], B[q+4, g]
//	d[0..3] = D[g, 2q], D[g, 2q+1], D[g+8, 2q], D[g+8, 2q+1]
//
// PTX ISA 8.0, section "Matrix fragments for mma.m16n8k8".
__device__ __forceinline__ void mma_16x8x8(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(CUSIM)
  cusim::mma_16x8x8_tf32(d, a, b);
#else
  asm(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif
