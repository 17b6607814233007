package native

import (
	"fmt"
	"strings"
)

// remedies of what the dynamic linker reports, by a part of its message. From the libraries' own dependencies.
func remedies() []struct{ part, remedy string } {
	return []struct{ part, remedy string }{
		{"version `GLIBC_", "glibc 2.34 or newer is needed: use Debian 12, Ubuntu 22.04, RHEL 9 or newer"},
		{"version `GLIBCXX_", "a newer libstdc++ is needed: install libstdc++6 of GCC 12 or newer"},
		{"libstdc++.so.6", "install libstdc++6"},
		{"libgcc_s.so.1", "install libgcc-s1"},
		{"libcudart.so.13", "install the CUDA 13 runtime (libcudart.so.13, libcublas.so.13), or use the CUDA 12 variant: make native-cuda12"},
		{"libcublas.so.13", "install the CUDA 13 runtime (libcudart.so.13, libcublas.so.13), or use the CUDA 12 variant: make native-cuda12"},
		{"libcudart.so.12", "install the CUDA 12 runtime (libcudart.so.12, libcublas.so.12), or use the CUDA 13 variant: make native-cuda"},
		{"libcublas.so.12", "install the CUDA 12 runtime (libcudart.so.12, libcublas.so.12), or use the CUDA 13 variant: make native-cuda"},
		{"libcuda.so.1", "install NVIDIA's driver"},
		{"libvulkan.so.1", "install the Vulkan loader (libvulkan1) and a driver (mesa-vulkan-drivers or the vendor's)"},
		{"file too short", "the file is damaged: remove the folder and run `make native`"},
		{"invalid ELF header", "the file is damaged or for another platform: remove the folder and run `make native`"},
		{"wrong ELF class", "the file is for another platform: remove the folder and run `make native`"},
		{"incompatible architecture", "the file is for another platform: remove the folder and run `make native`"},
		{"undefined symbol", "the libraries do not belong together: remove the folder and run `make native`"},
	}
}

// explain adds the remedy to an error of the dynamic linker.
func explain(err error) error {
	for _, r := range remedies() {
		if strings.Contains(err.Error(), r.part) {
			return fmt.Errorf("%w: %s", err, r.remedy)
		}
	}
	return err
}
