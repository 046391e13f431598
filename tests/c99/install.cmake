# Installs the library into a directory of its own, builds a consumer by find_package and one by pkg-config, and runs
# both. cmake -DBUILD=... -DSOURCE=consumer -DWORK=... -DC=cc -DCXX=c++ -DGENERATOR=Ninja
# -DMAKE_PROGRAM=ninja [-DPKG_CONFIG=...] -P install.cmake
file(REMOVE_RECURSE ${WORK})
set(prefix ${WORK}/prefix)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --component tutti --prefix ${prefix} OUTPUT_QUIET
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}
                        -S ${SOURCE} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${prefix}
                        -DCMAKE_C_COMPILER=${C} -DCMAKE_CXX_COMPILER=${CXX} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/build/consumer OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/build/consumer_cpp COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "by find_package: ${said}")
if(NOT PKG_CONFIG)
  message(STATUS "pkg-config is not installed; that half was not tested")
  return()
endif()
file(GLOB_RECURSE pc ${prefix}/tutti.pc)
get_filename_component(pc_directory ${pc} DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${pc_directory})
execute_process(COMMAND ${PKG_CONFIG} --cflags --libs tutti OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${PKG_CONFIG} --variable=libdir tutti OUTPUT_VARIABLE libdir OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
execute_process(COMMAND ${C} -std=c99 ${SOURCE}/consumer.c -o ${WORK}/by_pkg_config ${flags} -Wl,-rpath,${libdir}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/by_pkg_config OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "by pkg-config: ${said}")
