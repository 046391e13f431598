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
  # What the manual of ccache asks for where there are precompiled headers; and one folder's results serve every other
  # with the same text, so that a fresh clone is built in a minute where there was one before.
  set(ccache ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
      CCACHE_NOHASHDIR=1 ${TUTTI_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${ccache})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ccache})
endif()

# tutti_precompile(NAME KIND HEADER): the C++ files of the target begin with this header of the folder cmake, which is
# parsed once for all targets of the kind, "library" or "executable". A third of the time that a build takes. The
# library itself has none in a release, nor anything where clang compiles, so that a forgotten #include is noticed.
function(tutti_precompile name kind header)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU" OR (kind STREQUAL "library" AND NOT TUTTI_SANITIZE))
    return()
  endif()
  get_filename_component(owner ${header} NAME_WE)
  if(NOT TARGET ${owner})
    set(empty ${PROJECT_BINARY_DIR}/${owner}.cc)
    file(CONFIGURE OUTPUT ${empty} CONTENT "int main() { return 0; }\n")  # in a library nobody calls it
    cmake_language(CALL add_${kind} ${owner} ${empty})
    target_link_libraries(${owner} PRIVATE tutti_options)
    set_target_properties(${owner} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
    target_precompile_headers(${owner} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/cmake/${header}>)
    if(kind STREQUAL "executable")  # which are tests
      target_link_libraries(${owner} PRIVATE GTest::gtest)
      tutti_test_options(${owner})
    endif()
  endif()
  target_precompile_headers(${name} REUSE_FROM ${owner})
endfunction()

# Tests need no optimisation that takes long: what they test has it.
function(tutti_test_options name)
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# tutti_module(NAME SOURCES a.cc ... DEPENDS tutti_x ...): one folder's static library.
function(tutti_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${name} PUBLIC tutti_options ${arg_DEPENDS})
  tutti_precompile(${name} library library_headers.h)
endfunction()

# tutti_test(NAME SOURCES a.cc ... DEPENDS tutti_x ... [TIMEOUT s] [LABELS l ...]): one GoogleTest binary, one ctest
# entry. The label "pure" says that the test has one thread, one process and no shared memory: the thread sanitizer
# would find nothing in it, so it is not built then.
function(tutti_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE tutti_options ${arg_DEPENDS} GTest::gtest GTest::gtest_main)
  tutti_test_options(${name})
  tutti_precompile(${name} executable test_headers.h)
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
