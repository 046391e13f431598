# The few functions every folder's CMakeLists.txt uses.
find_package(Threads REQUIRED)

add_library(tutti_options INTERFACE)
target_compile_options(tutti_options INTERFACE
  -Wall -Wextra -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Wno-missing-field-initializers)
target_include_directories(tutti_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(tutti_options INTERFACE Threads::Threads)
if(TUTTI_SANITIZE)
  target_compile_options(tutti_options INTERFACE
    -fsanitize=${TUTTI_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(tutti_options INTERFACE -fsanitize=${TUTTI_SANITIZE})
  if(TUTTI_SANITIZE MATCHES undefined)
    # Looks at memory through a pipe, and takes the memory for bad when there is no descriptor left for one: a test
    # leaves none.
    target_compile_options(tutti_options INTERFACE -fno-sanitize=vptr)
  endif()
endif()
find_program(TUTTI_MOLD mold)
if(TUTTI_MOLD)
  target_link_options(tutti_options INTERFACE -fuse-ld=mold)
endif()
find_program(TUTTI_CCACHE ccache)
if(TUTTI_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${TUTTI_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TUTTI_CCACHE})
endif()

# tutti_module(NAME SOURCES a.cc ... DEPENDS tutti_x ...): one folder's static library.
function(tutti_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${name} PUBLIC tutti_options ${arg_DEPENDS})
endfunction()

# tutti_test(NAME SOURCES a.cc ... DEPENDS tutti_x ... [TIMEOUT s] [LABELS l ...]): one GoogleTest binary, one ctest
# entry. The label "pure" says that the test has one thread, one process and no shared memory: the thread sanitizer
# would find nothing in it, so it is not built then.
function(tutti_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE tutti_options ${arg_DEPENDS} GTest::gtest GTest::gtest_main)
  if("pure" IN_LIST arg_LABELS AND TUTTI_SANITIZE STREQUAL "thread")
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL TRUE)
    return()
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
  if(arg_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}")
  endif()
endfunction()
