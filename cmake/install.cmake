# Installs the libraries, the headers, the manual pages, disk_chan.pc and the CMake package. All of it may be moved
# afterwards: the .pc file and the package find their prefix from where they lie.
include(CMakePackageConfigHelpers)

install(FILES ${disk_chan_so} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime
        PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
install(FILES ${disk_chan_lib}/${disk_chan_so_name} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime)
# All that follows is for those who build programs.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)
install(FILES ${disk_chan_lib}/libdisk_chan.so ${disk_chan_a} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/disk_chan.h include/disk_chan.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(NOT DISK_CHAN_PACKAGE STREQUAL deb) # which has them elsewhere
  install(FILES LICENSE-MIT LICENSE-APACHE DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(NOT DISK_CHAN_PACKAGE STREQUAL deb) # which has them compressed
  install(DIRECTORY man/man3 man/man5 man/man7 DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.[1-9]")
endif()

# pkg-config
set(disk_chan_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(disk_chan_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH disk_chan_up /prefix/${disk_chan_pc_dir} /prefix)
  string(REGEX REPLACE "/$" "" disk_chan_up ${disk_chan_up})
  set(disk_chan_pc_prefix "\${pcfiledir}/${disk_chan_up}")
endif()
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE ${CMAKE_INSTALL_${dir}})
    set(disk_chan_pc_${dir} ${CMAKE_INSTALL_${dir}})
  else()
    set(disk_chan_pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
string(REPLACE ";" " -l" disk_chan_pc_private "-l${disk_chan_system_libs}")
configure_file(cmake/disk_chan.pc.in ${CMAKE_CURRENT_BINARY_DIR}/disk_chan.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/disk_chan.pc DESTINATION ${disk_chan_pc_dir})

# find_package
set(disk_chan_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/disk_chan)
configure_package_config_file(cmake/disk_chan-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/disk_chan-config.cmake
  INSTALL_DESTINATION ${disk_chan_package_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
configure_file(cmake/disk_chan-targets.cmake.in
               ${CMAKE_CURRENT_BINARY_DIR}/disk_chan-targets.cmake @ONLY)
# Before 1.0 the minor version carries breaking changes.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/disk_chan-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/disk_chan-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/disk_chan-targets.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/disk_chan-config-version.cmake
        DESTINATION ${disk_chan_package_dir})
