# An overlay port of this checkout: vcpkg install disk-chan --overlay-ports=packaging/vcpkg. vcpkg has no Rust: cargo must be at hand.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
find_program(CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" REQUIRED)

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS "-DDISK_CHAN_CARGO=${CARGO}" -DDISK_CHAN_BUILD_TESTS=OFF -DDISK_CHAN_BUILD_EXAMPLES=OFF -DDISK_CHAN_TOOL=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME disk_chan CONFIG_PATH lib/cmake/disk_chan)
vcpkg_fixup_pkgconfig()

# One kind of library for each triplet, and no second copy of what is alike.
if(VCPKG_LIBRARY_LINKAGE STREQUAL "static")
  file(GLOB unwanted "${CURRENT_PACKAGES_DIR}/lib/*.so*" "${CURRENT_PACKAGES_DIR}/debug/lib/*.so*")
else()
  file(GLOB unwanted "${CURRENT_PACKAGES_DIR}/lib/*.a" "${CURRENT_PACKAGES_DIR}/debug/lib/*.a")
endif()
if(unwanted)
  file(REMOVE ${unwanted})
endif()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE-MIT" "${SOURCE_PATH}/LICENSE-APACHE")
