# Packages by CPack; scripts/package.sh makes them. DISK_CHAN_PACKAGE says which kind this build tree is for:
#   tgz   everything, to be unpacked anywhere
#   deb   libdisk-chan0 (what programs need that run), libdisk-chan-dev (what one needs to build them), and disk-chan: the program
#         alone, since a package of a library may have no files whose names stay when its soname changes
set(CPACK_PACKAGE_NAME disk_chan)
set(CPACK_PACKAGE_VENDOR "the disk_chan developers")
set(CPACK_PACKAGE_CONTACT "the disk_chan developers <disk_chan@users.noreply.github.com>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "message channel on disk, memory-mapped and crash-safe")
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_PACKAGE_FILE_NAME disk_chan-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_COMPONENTS_ALL runtime development)
if(DISK_CHAN_TOOL)
  list(APPEND CPACK_COMPONENTS_ALL tool)
endif()
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/packaging/strip.cmake)

if(DISK_CHAN_PACKAGE STREQUAL tgz)
  set(CPACK_GENERATOR TGZ)
elseif(DISK_CHAN_PACKAGE STREQUAL deb)
  set(CPACK_GENERATOR DEB)
  set(CPACK_DEB_COMPONENT_INSTALL ON)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_RELEASE 0upstream1) # not Debian's own
  set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
  set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
  set(deb_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
  set(about "Many producers and many consumers, in any number of threads and processes,
share a directory of mapped files. Messages survive the crash of every process
and, on request, of the machine. Sending and receiving take no lock and make
no system call while messages flow; there is no server.
.")

  set(runtime libdisk-chan${disk_chan_abi})
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${runtime})
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
  set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "${about}\nThis package has the shared library.")

  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libdisk-chan-dev)
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${runtime} (= ${deb_version}), libc6-dev")
  set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "${about}
This package has what programs are built with: headers, the static library,
and the files for CMake and pkg-config.")

  set(CPACK_DEBIAN_TOOL_PACKAGE_NAME disk-chan)
  set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
  set(CPACK_DEBIAN_TOOL_PACKAGE_SHLIBDEPS ON)
  set(CPACK_COMPONENT_TOOL_DESCRIPTION "${about}
This package has the program disk-chan, which makes, shows, reads, writes,
watches, checks and copies channels from the shell.")

  # What Debian's policy wants of each.
  find_program(GZIP gzip REQUIRED)
  set(debian ${CMAKE_CURRENT_BINARY_DIR}/debian)
  configure_file(packaging/changelog.in ${debian}/changelog.Debian @ONLY)
  # The loader's cache is Debian's to keep; who links with the library depends on this version or a newer one.
  file(WRITE ${debian}/triggers "activate-noawait ldconfig\n")
  file(WRITE ${debian}/shlibs "libdisk_chan ${disk_chan_abi} ${runtime} (>= ${PROJECT_VERSION})\n")
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${debian}/triggers ${debian}/shlibs)
  execute_process(COMMAND ${GZIP} -9nf ${debian}/changelog.Debian)
  file(REMOVE_RECURSE ${debian}/man)
  file(GLOB pages RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/man/man[1-9]/*)
  foreach(page IN LISTS pages)
    configure_file(${page} ${debian}/${page} COPYONLY)
  endforeach()
  execute_process(COMMAND ${GZIP} -9nfr ${debian}/man)
  set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)
  install(DIRECTORY ${debian}/man/man3 ${debian}/man/man5 ${debian}/man/man7 DESTINATION ${CMAKE_INSTALL_MANDIR})
  if(DISK_CHAN_TOOL)
    install(DIRECTORY ${debian}/man/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT tool)
  endif()
  file(READ LICENSE-MIT license_mit)
  string(REGEX REPLACE "\n\n" "\n.\n" license_mit "${license_mit}")
  string(REGEX REPLACE "\n" "\n " license_mit "${license_mit}")
  configure_file(packaging/copyright.in ${debian}/copyright @ONLY)
  foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    string(TOUPPER ${component} upper)
    install(FILES ${debian}/copyright ${debian}/changelog.Debian.gz COMPONENT ${component}
            DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  endforeach()
endif()
include(CPack)
