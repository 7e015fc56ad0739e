/* Includes the header that FASTNN_TEMPLATE names once for each dtype: FASTNN_REAL is the type, FASTNN_OF(name) the function of that name
   for it, FASTNN_LANES how many fit into a vector. */
#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_##name##_f32
#define FASTNN_LANES FASTNN_LANES_f32
#include FASTNN_TEMPLATE
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LANES

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_##name##_f64
#define FASTNN_LANES FASTNN_LANES_f64
#include FASTNN_TEMPLATE
#undef FASTNN_REAL
#undef FASTNN_OF
#undef FASTNN_LANES
#undef FASTNN_TEMPLATE
