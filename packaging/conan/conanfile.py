"""conan create packaging/conan (Conan 2): builds disk_chan from this checkout; cargo must be at hand."""
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rm


class DiskChan(ConanFile):
    name = "disk_chan"
    description = "On-disk, memory-mapped, crash-safe channel for many producers and consumers in many processes"
    license = "MIT OR Apache-2.0"
    topics = ("queue", "channel", "ipc", "mmap", "persistent")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}
    default_options = {"shared": True}

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        text = load(self, os.path.join(self._root, "Cargo.toml"))
        self.version = next(l for l in text.splitlines() if l.startswith("version")).split('"')[1]

    def export_sources(self):
        # cargo wants every member of the workspace, though it builds one.
        manifest = load(self, os.path.join(self._root, "Cargo.toml"))
        members = re.findall(r'"([^"]+)"', re.search(r"^members = \[(.*?)\]", manifest, re.M | re.S)[1])
        for part in (*(f"{member}/*" for member in members), "src/*", "include/*", "cmake/*", "docs/*", "man/*",
                     "Cargo.*", "build.rs", "cbindgen.toml", "CMakeLists.txt", "LICENSE-*", "README.md", "CHANGELOG.md"):
            copy(self, part, self._root, self.export_sources_folder)

    def validate(self):
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration("disk_chan is for Linux only")

    def configure(self):
        self.settings.rm_safe("compiler.libcxx")
        self.settings.rm_safe("compiler.cppstd")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "EXAMPLES"):
            toolchain.cache_variables[f"DISK_CHAN_BUILD_{part}"] = False
        toolchain.cache_variables["DISK_CHAN_TOOL"] = False  # a package of the library
        toolchain.cache_variables["CMAKE_INSTALL_LIBDIR"] = "lib"
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE-*", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # Conan makes its own files for CMake and pkg-config, and the other kind of library would be in the way.
        unwanted = "*.a" if self.options.shared else "*.so*"
        rm(self, unwanted, os.path.join(self.package_folder, "lib"))

    def package_info(self):
        self.cpp_info.libs = ["disk_chan"]
        self.cpp_info.set_property("cmake_file_name", "disk_chan")
        self.cpp_info.set_property("cmake_target_name", "disk_chan::disk_chan")
        self.cpp_info.set_property("pkg_config_name", "disk_chan")
        if not self.options.shared:
            self.cpp_info.system_libs = ["gcc_s", "util", "rt", "pthread", "m", "dl", "c"]
