# The same consumer in C++, where there is a compiler for it.
if(CPP_COMPILER)
  set(CMAKE_CXX_COMPILER ${CPP_COMPILER})
  enable_language(CXX)
  add_executable(with_cpp ../consumer.cpp)
  target_link_libraries(with_cpp disk_chan::cpp)
  add_executable(with_cpp_static ../consumer.cpp)
  target_link_libraries(with_cpp_static disk_chan::cpp_static)
endif()
