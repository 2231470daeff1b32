mayfly_benchmark(lifecycle SOURCES lifecycle.cc store_driver.cc DEPS mayfly::store_harness mayfly::crypto)
