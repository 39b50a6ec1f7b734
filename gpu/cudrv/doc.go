// Package cudrv lets one program run with and without an NVIDIA driver. With the build tag cuda it
// defines the driver's functions that gorgonia.org/cu and package gpu call, as jumps into
// libcuda.so.1, which is opened when the program first asks for devices and not linked. Without a
// driver there are no devices, Why says why, and cu does not end the process.
//
// Importing the package is enough; it must be imported wherever cu is. Why, cuDeviceGetCount and
// cuDriverGetVersion open the driver. Before one of them every other function returns
// CUDA_ERROR_NOT_INITIALIZED, without a driver CUDA_ERROR_NO_DEVICE or what cuInit returned, and a
// function that the driver is too old to have returns CUDA_ERROR_NOT_FOUND.
//
// ADVSWEEP_LIBCUDA names a library to open in place of libcuda.so.1, by a path, or without a slash
// by a name that the dynamic linker looks for.
package cudrv
