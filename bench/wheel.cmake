mayfly_benchmark(wheel SOURCES wheel.cc DEPS mayfly::retention)
