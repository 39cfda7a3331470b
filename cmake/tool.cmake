# The program disk-chan (cli/), built by cargo from the same sources and the same Cargo.lock; it links the engine itself, not the
# shared library. Its manual pages (man/man1) and completions (cli/completions) are committed: nothing of it runs while building.

file(GLOB_RECURSE disk_chan_tool_rust CONFIGURE_DEPENDS ${disk_chan_root}/cli/src/*.rs)

# A directory of its own: cargo would write the library that the tool links over the one for C programs, which is built otherwise.
set(disk_chan_tool_out ${DISK_CHAN_CARGO_TARGET_DIR}/tool)
string(REPLACE "${DISK_CHAN_CARGO_TARGET_DIR}" "${disk_chan_tool_out}" disk_chan_tool_built "${disk_chan_out}/disk-chan")
# Optimising over all of it at once takes minutes, and gains what its user cannot notice: the engine alone is worth it.
set(disk_chan_tool_profile)
foreach(setting lto=false codegen-units=16 package.disk_chan.codegen-units=1)
  list(APPEND disk_chan_tool_profile --config profile.${DISK_CHAN_CARGO_PROFILE}.${setting})
endforeach()
set(disk_chan_tool ${CMAKE_CURRENT_BINARY_DIR}/bin/disk-chan)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/bin)

add_custom_command(
  OUTPUT ${disk_chan_tool}
  COMMAND ${CMAKE_COMMAND} -E env --unset=CARGO_BUILD_TARGET ${DISK_CHAN_CARGO} ${disk_chan_remap} ${disk_chan_tool_profile} build
          --profile ${DISK_CHAN_CARGO_PROFILE} --locked --package disk_chan_cli --bin disk-chan
          --manifest-path ${disk_chan_root}/Cargo.toml --target-dir ${disk_chan_tool_out} ${disk_chan_target}
  COMMAND ${CMAKE_COMMAND} -E copy ${disk_chan_tool_built} ${disk_chan_tool}
  COMMAND ${CMAKE_COMMAND} -E touch ${disk_chan_tool}
  WORKING_DIRECTORY ${disk_chan_root}
  DEPENDS ${disk_chan_rust} ${disk_chan_tool_rust} ${disk_chan_root}/cli/Cargo.toml
  COMMENT "Building disk-chan by cargo" USES_TERMINAL VERBATIM)
add_custom_target(disk_chan_tool_build ALL DEPENDS ${disk_chan_tool})
add_dependencies(disk_chan_tool_build disk_chan_static_build) # one cargo after the other

if(DISK_CHAN_INSTALL)
  set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME tool)
  install(PROGRAMS ${disk_chan_tool} DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(NOT DISK_CHAN_PACKAGE STREQUAL deb) # which has them compressed
    install(DIRECTORY man/man1 DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.1")
  endif()
  set(completions ${disk_chan_root}/cli/completions)
  set(zsh zsh/site-functions)
  if(DISK_CHAN_PACKAGE STREQUAL deb)
    set(zsh zsh/vendor-completions)
  endif()
  install(FILES ${completions}/disk-chan.bash RENAME disk-chan DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${completions}/disk-chan.zsh RENAME _disk-chan DESTINATION ${CMAKE_INSTALL_DATADIR}/${zsh})
  install(FILES ${completions}/disk-chan.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  install(FILES cli/README.md RENAME disk-chan.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
