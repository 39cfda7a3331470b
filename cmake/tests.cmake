# What ctest runs: examples, the programs in README.md and docs/, the demo in small, the C and C++ tests, the
# headers in every language that they are for, and every way a project may find us, from an installed prefix. Each test has
# a fresh directory of its own, as working directory and as $TMPDIR.

# disk_chan_test(name TIMEOUT seconds [LAST_LINE text] COMMAND program args...)
function(disk_chan_test name)
  cmake_parse_arguments(arg "" "TIMEOUT;LAST_LINE" "COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND}
           "-DDIRECTORY=${CMAKE_CURRENT_BINARY_DIR}/tests/${name}" "-DLAST_LINE=${arg_LAST_LINE}"
           -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/run_test.cmake -- ${arg_COMMAND})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
endfunction()

# Each example states in its opening comment what it prints last.
foreach(source IN LISTS disk_chan_examples disk_chan_cpp_examples)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(extension ${source} EXT)
  if(extension STREQUAL .cpp)
    set(name cpp_${name})
  endif()
  file(STRINGS ${source} last REGEX "Prints last: " LIMIT_COUNT 1)
  if(NOT last)
    message(FATAL_ERROR "${source}: its opening comment lacks \"Prints last: ...\"")
  endif()
  string(REGEX REPLACE "^.*Prints last: " "" last "${last}")
  string(REGEX REPLACE " *\\*/$" "" last "${last}")
  disk_chan_test(example.${name} TIMEOUT 300 LAST_LINE "${last}" COMMAND $<TARGET_FILE:example_${name}>)
endforeach()
set_tests_properties(example.mpmc PROPERTIES PROCESSORS 2)
if(TEST example.io_uring)
  set_tests_properties(example.io_uring PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
endif()

# The programs in README.md, as a reader would copy them: written to readme.c and readme.cpp.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS README.md ${disk_chan_examples} ${disk_chan_cpp_examples})
function(disk_chan_readme language include)
  file(READ README.md readme)
  set(fence "```${language}\n")
  string(FIND "${readme}" "${fence}#include <${include}>" begin)
  if(begin EQUAL -1)
    message(FATAL_ERROR "README.md: no program found that includes ${include}")
  endif()
  string(LENGTH "${fence}" length)
  math(EXPR begin "${begin} + ${length}")
  string(SUBSTRING "${readme}" ${begin} -1 readme)
  string(FIND "${readme}" "```" end)
  string(SUBSTRING "${readme}" 0 ${end} readme)
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/readme.${language} CONTENT "${readme}")
endfunction()
disk_chan_readme(c disk_chan.h)
disk_chan_program(readme ${CMAKE_CURRENT_BINARY_DIR}/readme.c)
disk_chan_test(readme TIMEOUT 60 LAST_LINE "hello" COMMAND $<TARGET_FILE:readme>)
if(CMAKE_CXX_COMPILER)
  disk_chan_readme(cpp disk_chan.hpp)
  disk_chan_cpp_program(readme_cpp 17 ${CMAKE_CURRENT_BINARY_DIR}/readme.cpp)
  disk_chan_test(readme_cpp TIMEOUT 60 LAST_LINE "hello" COMMAND $<TARGET_FILE:readme_cpp>)
endif()

include(cmake/docs.cmake)

# The example in Python: the ABI from a language that knows nothing of the header.
find_program(disk_chan_python3 python3)
if(disk_chan_python3 AND NOT DISK_CHAN_SANITIZE)
  disk_chan_test(example.python TIMEOUT 120 LAST_LINE "1000 messages, in order"
                 COMMAND ${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${disk_chan_lib}
                 ${disk_chan_python3} ${CMAKE_CURRENT_SOURCE_DIR}/examples-python/asyncio_channel.py)
endif()

# The demo, shortened.
disk_chan_test(demo TIMEOUT 300 LAST_LINE "demo: all of it arrived, each line exactly once"
               COMMAND ${CMAKE_COMMAND} -E env DEMO_MESSAGES=200000 DEMO_LINES=50000
               ${CMAKE_CURRENT_SOURCE_DIR}/demo/demo.sh ${CMAKE_CURRENT_BINARY_DIR})

# The C behaviour suite: every tests/c/test_*.c (and .cpp) is a program and a test; c_tests builds them alone.
add_custom_target(c_tests)
file(GLOB tests_c CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/c/test_*.c)
file(GLOB tests_cpp CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/c/test_*.cpp)
if(NOT CMAKE_CXX_COMPILER)
  set(tests_cpp)
endif()
foreach(source IN LISTS tests_c tests_cpp)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(extension ${source} EXT)
  string(REGEX REPLACE "^test_" "" short ${name})
  string(REPLACE "." "" language ${extension})
  disk_chan_program(${language}_${name} ${source})
  target_include_directories(${language}_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tests/c)
  target_link_libraries(${language}_${name} PRIVATE ${CMAKE_DL_LIBS})
  add_dependencies(c_tests ${language}_${name})
  if(language STREQUAL cpp)
    target_compile_features(${language}_${name} PRIVATE cxx_std_17)
  endif()
  set_target_properties(${language}_${name} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests-c)
  disk_chan_test(${language}.${short} TIMEOUT 300 COMMAND $<TARGET_FILE:${language}_${name}>)
  set_tests_properties(${language}.${short} PROPERTIES
                       ENVIRONMENT DISK_CHAN_SO=${disk_chan_lib}/${disk_chan_so_name}) # for dlopen
endforeach()
# The longest, mostly waiting: begun first, it does not run on alone at the end.
set_tests_properties(c.guard PROPERTIES COST 1000)

# The C++ header: every tests/cpp/test_*.cpp is a program and a test in C++17 and in C++20; what uses the
# non-throwing calls alone is one without exceptions, too.
add_custom_target(cpp_tests)
function(disk_chan_cpp_test prefix short standard)
  disk_chan_cpp_program(${prefix}_${short} ${standard} tests/cpp/test_${short}.cpp ${ARGN})
  target_include_directories(${prefix}_${short} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tests/c)
  set_target_properties(${prefix}_${short} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests-cpp)
  add_dependencies(cpp_tests ${prefix}_${short})
  disk_chan_test(${prefix}.${short} TIMEOUT 300 COMMAND $<TARGET_FILE:${prefix}_${short}>)
endfunction()
if(CMAKE_CXX_COMPILER)
  set(cpp_standards 17)
  if(cxx_std_20 IN_LIST CMAKE_CXX_COMPILE_FEATURES)
    list(APPEND cpp_standards 20)
  endif()
  set_source_files_properties(tests/cpp/units_other.cpp PROPERTIES COMPILE_OPTIONS -fno-exceptions)
  foreach(standard IN LISTS cpp_standards)
    disk_chan_cpp_test(cpp${standard} throwing ${standard})
    disk_chan_cpp_test(cpp${standard} nonthrowing ${standard})
    disk_chan_cpp_test(cpp${standard} units ${standard} tests/cpp/units_other.cpp)
  endforeach()
  disk_chan_cpp_test(cpp_no_exceptions nonthrowing 17)
  target_compile_options(cpp_no_exceptions_nonthrowing PRIVATE -fno-exceptions)
endif()

# Wrong on purpose, for scripts/sanitize.sh: not a test.
disk_chan_program(c_planted tests/c/planted.c)
add_dependencies(c_tests c_planted)
set_target_properties(c_planted PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests-c)

# Instructions a message takes: where nothing slows a program down but what it does. Not of instrumented libraries.
disk_chan_program(instructions tests/instructions/count.c)
set_target_properties(instructions PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests-c)
if(NOT DISK_CHAN_SANITIZE)
  disk_chan_test(instructions TIMEOUT 300
                 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/scripts/instructions.sh ${CMAKE_CURRENT_BINARY_DIR})
  set_tests_properties(instructions PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
endif()

# A program of the first header with the library of today.
disk_chan_program(first_program tests/abi/first/program.c)
target_include_directories(first_program BEFORE PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tests/abi/first)
set_target_properties(first_program PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/tests-c)
disk_chan_test(abi.first TIMEOUT 60 LAST_LINE "works" COMMAND $<TARGET_FILE:first_program>)

# The headers compile without a warning, alone: the C header as C11, C17 and C++17, the C++ header as C++17
# and C++20, by clang too where there is one, with exceptions and without.
set(header ${CMAKE_CURRENT_SOURCE_DIR}/include/disk_chan.h)
set(strict -Wall -Wextra -Wpedantic -Werror -fsyntax-only)
foreach(standard c11 c17)
  disk_chan_test(header.${standard} TIMEOUT 60 COMMAND ${CMAKE_C_COMPILER} -std=${standard} ${strict} -xc ${header})
endforeach()
if(CMAKE_CXX_COMPILER)
  disk_chan_test(header.c++17 TIMEOUT 60 COMMAND ${CMAKE_CXX_COMPILER} -std=c++17 ${strict} -xc++ ${header})
endif()

if(CMAKE_CXX_COMPILER)
  find_program(DISK_CHAN_CLANGXX clang++ DOC "A second opinion on disk_chan.hpp")
  set(compilers ${CMAKE_CXX_COMPILER})
  if(DISK_CHAN_CLANGXX AND NOT CMAKE_CXX_COMPILER_ID STREQUAL Clang)
    list(APPEND compilers ${DISK_CHAN_CLANGXX})
  endif()
  foreach(compiler IN LISTS compilers)
    get_filename_component(short ${compiler} NAME)
    foreach(standard IN LISTS cpp_standards)
      foreach(exceptions exceptions no-exceptions)
        disk_chan_test(header_cpp.${short}.c++${standard}.${exceptions} TIMEOUT 60
                       COMMAND ${compiler} -std=c++${standard} -f${exceptions} -Wconversion -Wshadow ${strict}
                       -I${CMAKE_CURRENT_SOURCE_DIR}/include -xc++ ${CMAKE_CURRENT_SOURCE_DIR}/include/disk_chan.hpp)
      endforeach()
    endforeach()
  endforeach()
endif()

# What the libraries look like from outside.
string(REPLACE ";" "," system_libs "${disk_chan_system_libs}")
disk_chan_test(library TIMEOUT 60 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tests/cmake/library.sh
               ${disk_chan_so} ${disk_chan_so_name} ${header} ${disk_chan_native} ${system_libs})

# Consumer projects. The installed prefix is made once; the two that build us share cargo's
# directory with this build, so that nothing compiles twice.
set(consumers ${CMAKE_CURRENT_SOURCE_DIR}/tests/cmake)
if(DISK_CHAN_INSTALL)
  set(prefix ${CMAKE_CURRENT_BINARY_DIR}/prefix)
  add_test(NAME install COMMAND ${CMAKE_COMMAND} --install ${CMAKE_CURRENT_BINARY_DIR} --prefix ${prefix})
  set_tests_properties(install PROPERTIES TIMEOUT 60 FIXTURES_SETUP prefix)

  disk_chan_test(consumer.find_package TIMEOUT 120
                 COMMAND ${consumers}/project.sh ${consumers}/find_package -DCMAKE_PREFIX_PATH=${prefix}
                 -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER} -DCPP_COMPILER=${CMAKE_CXX_COMPILER}
                 -DWANTED_VERSION=${PROJECT_VERSION})
  disk_chan_test(consumer.pkg_config TIMEOUT 120
                 COMMAND ${consumers}/pkg_config.sh ${CMAKE_C_COMPILER} ${prefix} ${CMAKE_INSTALL_LIBDIR})
  disk_chan_test(consumer.moved_prefix TIMEOUT 120
                 COMMAND ${consumers}/moved.sh ${CMAKE_C_COMPILER} ${prefix} ${CMAKE_INSTALL_LIBDIR})
  set_tests_properties(consumer.find_package consumer.pkg_config consumer.moved_prefix
                       PROPERTIES FIXTURES_REQUIRED prefix)
endif()
if(NOT DISK_CHAN_SANITIZE)
  disk_chan_test(consumer.two_rust TIMEOUT 120
                 COMMAND ${consumers}/two_rust.sh ${CMAKE_C_COMPILER} ${CMAKE_CURRENT_SOURCE_DIR}/include ${disk_chan_lib})
  disk_chan_test(packages TIMEOUT 900
                 COMMAND ${consumers}/packages.sh ${CMAKE_C_COMPILER} ${CMAKE_CURRENT_BINARY_DIR})
  set_tests_properties(packages PROPERTIES RESOURCE_LOCK cargo)
endif()
foreach(kind add_subdirectory fetch_content)
  disk_chan_test(consumer.${kind} TIMEOUT 900
                 COMMAND ${consumers}/project.sh ${consumers}/${kind}
                 -DDISK_CHAN_SOURCE=${CMAKE_CURRENT_SOURCE_DIR}
                 -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER} -DCPP_COMPILER=${CMAKE_CXX_COMPILER}
                 -DDISK_CHAN_CARGO=${DISK_CHAN_CARGO}
                 -DDISK_CHAN_CARGO_PROFILE=${DISK_CHAN_CARGO_PROFILE}
                 -DDISK_CHAN_CARGO_TARGET_DIR=${DISK_CHAN_CARGO_TARGET_DIR})
  set_tests_properties(consumer.${kind} PROPERTIES RESOURCE_LOCK cargo)
endforeach()
