/* The x86-64 microarchitecture level of this machine (x86-64 psABI, section 3.1.1). The compiler's builtin also asks the
   operating system whether it saves the wide registers. */
#ifndef FASTNN_PROCESSOR_H
#define FASTNN_PROCESSOR_H

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(__clang__))
static int fastnn_x86_64_level(void) {
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt")))
        return 1;
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
          && __builtin_cpu_supports("bmi2")))
        return 2;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")
          && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
        return 3;
    return 4;
}
#else
static int fastnn_x86_64_level(void) { return 0; }
#endif

#endif
