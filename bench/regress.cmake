# Counts are compared only where the baseline's were taken: see "Guarding it" in README.md.
find_program(VALGRIND_PROGRAM valgrind)
find_path(VALGRIND_INCLUDE_DIR valgrind/callgrind.h)
if(NOT VALGRIND_PROGRAM OR NOT VALGRIND_INCLUDE_DIR)
  return()
endif()

add_executable(hot_paths hot_paths.cc)
target_include_directories(hot_paths PRIVATE ${VALGRIND_INCLUDE_DIR})
target_link_libraries(hot_paths PRIVATE mayfly::store_harness mayfly::crypto mayfly::retention
                                        mayfly_flags)

if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo"
   AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
   AND CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64"
   AND NOT MAYFLY_HARDENING
   AND NOT MAYFLY_SANITIZE
   AND NOT MAYFLY_COVERAGE)
  add_test(NAME bench_regress COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/regress $<TARGET_FILE:hot_paths>)
  set_tests_properties(bench_regress PROPERTIES LABELS e2e TIMEOUT 600)
endif()
