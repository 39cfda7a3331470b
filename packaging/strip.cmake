# Run by CPack on what it is about to pack: without what only debuggers want.
file(GLOB_RECURSE shared ${CPACK_TEMPORARY_DIRECTORY}/*/libdisk_chan.so.*.*.*)
file(GLOB_RECURSE programs ${CPACK_TEMPORARY_DIRECTORY}/*/disk-chan)
list(FILTER programs INCLUDE REGEX /bin/disk-chan$) # not its completions
file(GLOB_RECURSE static ${CPACK_TEMPORARY_DIRECTORY}/*/libdisk_chan.a)
foreach(file IN LISTS shared)
  execute_process(COMMAND strip --strip-unneeded --remove-section=.comment --remove-section=.note ${file} COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND chmod 0644 ${file})
endforeach()
foreach(file IN LISTS programs)
  execute_process(COMMAND strip --strip-unneeded --remove-section=.comment --remove-section=.note ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
foreach(file IN LISTS static)
  execute_process(COMMAND strip --strip-debug --remove-section=.comment --remove-section=.note --enable-deterministic-archives ${file}
                  COMMAND_ERROR_IS_FATAL ANY)
endforeach()
