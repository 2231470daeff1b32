mayfly_benchmark(sweep SOURCES sweep.cc store_driver.cc DEPS mayfly::store_harness mayfly::crypto)
