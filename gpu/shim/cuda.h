// The toolkit's cuda.h, for gorgonia.org/cu v0.9.6; this directory must come before the toolkit's in
// the include path. CUDA 13 redirects five calls of cu to versions with other parameters, which do
// not compile, and two to versions that only newer drivers have. Here all seven are pointed back
// at the versions that cu was written for; drivers still export them. Nothing changes with the
// headers of CUDA 11 and 12.
#pragma GCC system_header
#include_next <cuda.h>

#ifndef ADVSWEEP_CUDA_H
#define ADVSWEEP_CUDA_H
#if defined(CUDA_VERSION) && CUDA_VERSION >= 13000

#ifdef __cplusplus
extern "C" {
#endif

#undef cuCtxCreate
#define cuCtxCreate cuCtxCreate_v2
CUresult CUDAAPI cuCtxCreate_v2(CUcontext *ctx, unsigned int flags, CUdevice dev);
#undef cuMemAdvise
CUresult CUDAAPI cuMemAdvise(CUdeviceptr ptr, size_t count, CUmem_advise advice, CUdevice dev);
#undef cuMemPrefetchAsync
CUresult CUDAAPI cuMemPrefetchAsync(CUdeviceptr ptr, size_t count, CUdevice dst, CUstream stream);
#undef cuGraphAddDependencies
CUresult CUDAAPI cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n);
#undef cuGraphGetEdges
CUresult CUDAAPI cuGraphGetEdges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *n);

// Compiled, these would ask for the versions of driver 12.8 and of 11.4.
#undef cuEventElapsedTime
CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent start, CUevent end);
#undef cuDeviceGetUuid
CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);

#ifdef __cplusplus
}
#endif

#endif
#endif
