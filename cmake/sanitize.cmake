# DISK_CHAN_SANITIZE=address or thread, for scripts/sanitize.sh: the library and the C programs are
# instrumented alike, and one runtime serves both: the one that comes with Rust's toolchain. The compiler's
# own would be a second one, of another version. The library finds the runtime in the program that loads it.
set(DISK_CHAN_SANITIZE "" CACHE STRING "Instrument everything: address or thread (needs gcc or clang)")
set(disk_chan_sanitize_env)
set(disk_chan_sanitize_compile)
set(disk_chan_sanitize_link)
if(NOT DISK_CHAN_SANITIZE)
  return()
endif()

find_program(DISK_CHAN_RUSTC rustc HINTS $ENV{CARGO_HOME}/bin $ENV{HOME}/.cargo/bin DOC "The compiler that cargo calls")
execute_process(COMMAND ${DISK_CHAN_RUSTC} --print sysroot OUTPUT_VARIABLE sysroot OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${DISK_CHAN_RUSTC} -vV OUTPUT_VARIABLE version)
string(REGEX REPLACE ".*\nhost: ([^\n]+)\n.*" "\\1" host "${version}")
# Named, so that what runs while building (build.rs) is not instrumented.
set(DISK_CHAN_CARGO_TARGET ${host})

if(DISK_CHAN_SANITIZE STREQUAL address)
  set(short asan)
  # Rust's runtime has no part of UBSan that knows C++ types (vptr).
  set(disk_chan_sanitize_compile -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                 $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize=vptr>)
elseif(DISK_CHAN_SANITIZE STREQUAL thread)
  set(short tsan)
  set(disk_chan_sanitize_compile -fsanitize=thread)
  set(cfg " --cfg dc_tsan") # locks that it sees: src/sync/pthread.rs
else()
  message(FATAL_ERROR "DISK_CHAN_SANITIZE is \"${DISK_CHAN_SANITIZE}\": it is address or thread")
endif()
list(APPEND disk_chan_sanitize_compile -DDC_SANITIZED -g -fno-omit-frame-pointer)

file(GLOB runtime ${sysroot}/lib/rustlib/${host}/lib/librustc*_rt.${short}.a)
if(NOT runtime)
  message(FATAL_ERROR "no ${DISK_CHAN_SANITIZE} sanitizer in ${sysroot}: Rust has none for ${host}")
endif()
set(disk_chan_sanitize_link -rdynamic -Wl,--whole-archive ${runtime} -Wl,--no-whole-archive
                            ${CMAKE_DL_LIBS} rt m resolv gcc_s)

# On Rust's side, what its debug assertions check is what UBSan is for C. Link-time optimisation would only take long.
set(disk_chan_sanitize_env RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    "RUSTFLAGS=-Zsanitizer=${DISK_CHAN_SANITIZE} -Cunsafe-allow-abi-mismatch=sanitizer -Cdebug-assertions=on -Coverflow-checks=on${cfg}")
