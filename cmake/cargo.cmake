# Drives cargo, once for each library: LTO is dropped when two crate types are built together.
# Both share one target directory, so dependencies compile once; the static library waits for the
# shared one, so the two never race for it.

find_program(DISK_CHAN_CARGO cargo HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin
             DOC "The cargo that builds disk_chan")
if(NOT DISK_CHAN_CARGO)
  message(FATAL_ERROR "disk_chan is written in Rust and needs cargo: https://rustup.rs, "
                      "or set DISK_CHAN_CARGO to where it is")
endif()

set(disk_chan_root ${CMAKE_CURRENT_SOURCE_DIR})
file(GLOB_RECURSE disk_chan_rust CONFIGURE_DEPENDS ${disk_chan_root}/src/*.rs)
foreach(file build.rs Cargo.toml Cargo.lock cbindgen.toml)
  if(EXISTS ${disk_chan_root}/${file})
    list(APPEND disk_chan_rust ${disk_chan_root}/${file})
  endif()
endforeach()

# Where cargo leaves its result; the profile called dev has a directory called debug.
set(disk_chan_out ${DISK_CHAN_CARGO_TARGET_DIR})
set(disk_chan_target)
if(DISK_CHAN_CARGO_TARGET)
  set(disk_chan_target --target ${DISK_CHAN_CARGO_TARGET})
  string(APPEND disk_chan_out /${DISK_CHAN_CARGO_TARGET})
endif()
if(DISK_CHAN_CARGO_PROFILE STREQUAL dev)
  string(APPEND disk_chan_out /debug)
else()
  string(APPEND disk_chan_out /${DISK_CHAN_CARGO_PROFILE})
endif()

# The same bytes wherever it is built: what remembers paths is told others. (Flags of the user's own for rustc, in RUSTFLAGS
# or for the target, replace these.)
if(DEFINED ENV{CARGO_HOME})
  set(disk_chan_cargo_home $ENV{CARGO_HOME})
else()
  set(disk_chan_cargo_home $ENV{HOME}/.cargo)
endif()
set(disk_chan_remap --config "build.rustflags=['--remap-path-prefix=${disk_chan_root}=/disk_chan',\
'--remap-path-prefix=${disk_chan_cargo_home}=/cargo']")

set(disk_chan_cargo ${CMAKE_COMMAND} -E env --unset=CARGO_BUILD_TARGET ${disk_chan_sanitize_env}
    ${DISK_CHAN_CARGO} ${disk_chan_remap} rustc --profile ${DISK_CHAN_CARGO_PROFILE} --locked --lib --features capi
    --manifest-path ${disk_chan_root}/Cargo.toml --target-dir ${DISK_CHAN_CARGO_TARGET_DIR}
    ${disk_chan_target})

set(disk_chan_so_name libdisk_chan.so.${disk_chan_abi})
set(disk_chan_so_full libdisk_chan.so.${PROJECT_VERSION})
set(disk_chan_lib ${CMAKE_CURRENT_BINARY_DIR}/lib)
set(disk_chan_so ${disk_chan_lib}/${disk_chan_so_full})
set(disk_chan_a ${disk_chan_lib}/libdisk_chan.a)
set(disk_chan_native ${DISK_CHAN_CARGO_TARGET_DIR}/native-static-libs.txt) # the same for all who share it: nothing rebuilds
file(MAKE_DIRECTORY ${disk_chan_lib})

add_custom_command(
  OUTPUT ${disk_chan_so}
  BYPRODUCTS ${disk_chan_lib}/${disk_chan_so_name} ${disk_chan_lib}/libdisk_chan.so
  COMMAND ${disk_chan_cargo} --crate-type cdylib
  COMMAND ${CMAKE_COMMAND} -E copy ${disk_chan_out}/libdisk_chan.so ${disk_chan_so}
  COMMAND ${CMAKE_COMMAND} -E touch ${disk_chan_so}
  COMMAND ${CMAKE_COMMAND} -E create_symlink ${disk_chan_so_full} ${disk_chan_lib}/${disk_chan_so_name}
  COMMAND ${CMAKE_COMMAND} -E create_symlink ${disk_chan_so_name} ${disk_chan_lib}/libdisk_chan.so
  WORKING_DIRECTORY ${disk_chan_root} # where cargo looks for settings, such as those of a vendored tree
  DEPENDS ${disk_chan_rust}
  COMMENT "Building ${disk_chan_so_full} by cargo" USES_TERMINAL VERBATIM)

# rustc also says which system libraries a static link needs; a test compares them with ours.
add_custom_command(
  OUTPUT ${disk_chan_a}
  BYPRODUCTS ${disk_chan_native}
  COMMAND ${disk_chan_root}/cmake/static.sh ${disk_chan_native} ${disk_chan_cargo} --crate-type staticlib
  COMMAND ${CMAKE_COMMAND} -E copy ${disk_chan_out}/libdisk_chan.a ${disk_chan_a}
  COMMAND ${CMAKE_COMMAND} -E touch ${disk_chan_a}
  WORKING_DIRECTORY ${disk_chan_root} # where cargo looks for settings, such as those of a vendored tree
  DEPENDS ${disk_chan_rust} ${disk_chan_so}
  COMMENT "Building libdisk_chan.a by cargo" USES_TERMINAL VERBATIM)

# A project that only includes us builds what it links, no more; ours, or an install, wants both.
set(disk_chan_all)
if(disk_chan_top OR DISK_CHAN_INSTALL)
  set(disk_chan_all ALL)
endif()
add_custom_target(disk_chan_shared_build ${disk_chan_all} DEPENDS ${disk_chan_so})
add_custom_target(disk_chan_static_build ${disk_chan_all} DEPENDS ${disk_chan_a})
add_dependencies(disk_chan_static_build disk_chan_shared_build)

add_library(disk_chan::disk_chan SHARED IMPORTED GLOBAL)
set_target_properties(disk_chan::disk_chan PROPERTIES
  IMPORTED_LOCATION ${disk_chan_so}
  IMPORTED_SONAME ${disk_chan_so_name}
  INTERFACE_INCLUDE_DIRECTORIES ${disk_chan_root}/include)
add_dependencies(disk_chan::disk_chan disk_chan_shared_build)

# What libdisk_chan.a wants from the system; disk_chan.pc says the same.
set(disk_chan_system_libs gcc_s util rt pthread m dl c)
add_library(disk_chan::static STATIC IMPORTED GLOBAL)
set_target_properties(disk_chan::static PROPERTIES
  IMPORTED_LOCATION ${disk_chan_a}
  INTERFACE_INCLUDE_DIRECTORIES ${disk_chan_root}/include
  INTERFACE_LINK_LIBRARIES "${disk_chan_system_libs}")
add_dependencies(disk_chan::static disk_chan_static_build)

# disk_chan.hpp lies beside the C header, and wants nothing but a compiler for it.
add_library(disk_chan::cpp INTERFACE IMPORTED GLOBAL)
set_target_properties(disk_chan::cpp PROPERTIES
  INTERFACE_COMPILE_FEATURES cxx_std_17
  INTERFACE_LINK_LIBRARIES disk_chan::disk_chan)
add_library(disk_chan::cpp_static INTERFACE IMPORTED GLOBAL)
set_target_properties(disk_chan::cpp_static PROPERTIES
  INTERFACE_COMPILE_FEATURES cxx_std_17
  INTERFACE_LINK_LIBRARIES disk_chan::static)
