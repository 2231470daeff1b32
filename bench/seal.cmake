mayfly_benchmark(seal SOURCES seal.cc DEPS mayfly::crypto)
