# What ctest shows of the documents: the C code in docs/*.md and docs/snippets compiles and runs, the manual pages
# are the header's and render without a warning, no link leads nowhere.

# Each ```c block of docs/*.md: a program is built and run (its "Prints last: ..." is the last line it prints), anything
# else is compiled, as the body of a function that has a channel, a producer and a consumer.
set(tests_docs ${CMAKE_CURRENT_SOURCE_DIR}/tests/docs)
file(GLOB documents CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/docs/*.md)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${documents})
set(fragments)
foreach(document IN LISTS documents)
  get_filename_component(name ${document} NAME_WE)
  string(TOLOWER ${name} name)
  file(READ ${document} rest)
  set(number 0)
  while(TRUE)
    string(FIND "${rest}" "\n```c\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 6")
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "\n```" end)
    string(SUBSTRING "${rest}" 0 ${end} code)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    math(EXPR number "${number} + 1")
    set(source ${CMAKE_CURRENT_BINARY_DIR}/docs/${name}_${number}.c)
    if(code MATCHES "int main\\(")
      if(NOT code MATCHES "/\\* Prints last: ([^\n]*[^ \n]) *\\*/")
        message(FATAL_ERROR "${document}: program ${number} lacks \"/* Prints last: ... */\"")
      endif()
      set(last "${CMAKE_MATCH_1}")
      file(GENERATE OUTPUT ${source} CONTENT "${code}\n")
      disk_chan_program(doc_${name}_${number} ${source})
      set_target_properties(doc_${name}_${number} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/docs)
      disk_chan_test(docs.${name}.${number} TIMEOUT 60 LAST_LINE "${last}" COMMAND $<TARGET_FILE:doc_${name}_${number}>)
    else()
      file(GENERATE OUTPUT ${source} CONTENT "#include \"fragment.h\"
int ${name}_${number}(dc_channel *channel, dc_producer *producer, dc_consumer *consumer);
int ${name}_${number}(dc_channel *channel, dc_producer *producer, dc_consumer *consumer) {
    int code = DC_OK;
#line 1 \"${name}.md: block ${number}\"
${code}
    return code;
}
")
      list(APPEND fragments ${source})
    endif()
  endwhile()
endforeach()
if(fragments)
  disk_chan_program(docs_fragments ${fragments} ${tests_docs}/fragments.c)
  target_include_directories(docs_fragments PRIVATE ${tests_docs})
endif()

disk_chan_program(docs_snippets ${tests_docs}/snippets.c)
disk_chan_test(docs.snippets TIMEOUT 60 LAST_LINE "every snippet does what it says" COMMAND $<TARGET_FILE:docs_snippets>)

disk_chan_test(docs.man TIMEOUT 120 COMMAND ${tests_docs}/man.sh ${disk_chan_so} ${CMAKE_CURRENT_SOURCE_DIR}/man)
set_tests_properties(docs.man PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
if(NOT DISK_CHAN_SANITIZE) # which changes what the library needs
  disk_chan_test(docs.facts TIMEOUT 60 COMMAND ${tests_docs}/facts.sh ${disk_chan_so} ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(docs.facts PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
endif()
find_program(disk_chan_python3 python3)
if(disk_chan_python3)
  disk_chan_test(docs.generated TIMEOUT 60 COMMAND ${disk_chan_python3} ${CMAKE_CURRENT_SOURCE_DIR}/scripts/manual --check)
  disk_chan_test(docs.links TIMEOUT 60 COMMAND ${disk_chan_python3} ${tests_docs}/links.py ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(docs.links PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED:")
else()
  message(WARNING "no python3: whether the manual pages agree with the header, and the links of the documents, are not tested")
endif()
