/* The pixelwise part of an iteration in one pass over memory; included once for each precision.
   See Updates.advance in updates.py for the formulas. Arrays are contiguous, [B, C, H, W] and [B, 2, C, H, W]. */

#ifndef REAL
#include <math.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

#define REAL float
#define NAME step_float
#define DESCEND_ROW descend_row_float
#define ASCEND_ROW ascend_row_float
#define SQRT sqrtf
#include "step.c"
#undef REAL
#undef NAME
#undef DESCEND_ROW
#undef ASCEND_ROW
#undef SQRT
#define REAL double
#define NAME step_double
#define DESCEND_ROW descend_row_double
#define ASCEND_ROW ascend_row_double
#define SQRT sqrt
#include "step.c"

#else

/* What the loops do with one pixel: the first column has no neighbour on the left, the last one none on the right. */
#define DESCEND(j, LEFT) do { \
    REAL next = x[j] - tau * (data[j] + pull * x[j] + weight * (has_above * above[j] + (LEFT) - down[j] - right[j])); \
    next = next < low ? low : next; \
    next = next > high ? high : next; \
    x_next[j] = next; \
    x_bar[j] = 2 * next - x[j]; \
    x[j] += relaxation * (next - x[j]); \
} while (0)

#define ASCEND(j, ACROSS) do { \
    REAL a = down[j] + ascent * (below[j] - here[j]), b = right[j] + ascent * (ACROSS); \
    REAL squared = a * a + b * b; \
    REAL shorter = 1 / SQRT(squared > 1 ? squared : 1); \
    a *= shorter; \
    b *= shorter; \
    down_next[j] = a; \
    right_next[j] = b; \
    down[j] += p_relaxation * (a - down[j]); \
    right[j] += p_relaxation * (b - right[j]); \
} while (0)

/* One row of x, with p as it was. */
static inline __attribute__((always_inline)) void DESCEND_ROW(
    const REAL *restrict data, const REAL *restrict above, const REAL *restrict down, const REAL *restrict right,
    REAL *restrict x, REAL *restrict x_bar, REAL *restrict x_next, int width, REAL has_above,
    REAL pull, REAL weight, REAL tau, REAL relaxation, REAL low, REAL high)
{
    DESCEND(0, 0);
    for (int j = 1; j < width; j++)
        DESCEND(j, right[j - 1]);
}

/* One row of p. */
static inline __attribute__((always_inline)) void ASCEND_ROW(
    const REAL *restrict here, const REAL *restrict below, REAL *restrict down, REAL *restrict right,
    REAL *restrict down_next, REAL *restrict right_next, int width, REAL ascent, REAL p_relaxation)
{
    for (int j = 0; j < width - 1; j++)
        ASCEND(j, here[j + 1] - here[j]);
    ASCEND(width - 1, 0);
}

EXPORT void NAME(
    const REAL *data, REAL *x, REAL *p, REAL *x_bar, REAL *x_next, REAL *p_next, REAL *scratch,
    const REAL *taus, const REAL *relaxations, const REAL *p_relaxations,
    long long images, long long channels, long long height, long long width, long long steps,
    double pull, double weight, double ascent, double low, double high)
{
    const long long size = height * width;
    for (long long plane = 0; plane < images * channels; plane++) {
        const long long image = plane / channels, first = plane * size;
        const long long down = (2 * image * channels + plane % channels) * size, right = down + channels * size;
        for (long long step = 1; step <= steps; step++) {
            const int kept = x_next && step == steps;
            for (long long i = 0; i <= height; i++) {
                const long long row = i * width, before = row - width;
                if (i < height)
                    DESCEND_ROW(
                        data + first + row, p + down + (i ? before : 0), p + down + row, p + right + row,
                        x + first + row, x_bar + first + row, kept ? x_next + first + row : scratch, width, i ? 1 : 0,
                        pull, weight, taus[image], relaxations[image], low, high);
                if (i)  /* nothing reads that row any more */
                    ASCEND_ROW(
                        x_bar + first + before, x_bar + first + (i < height ? row : before), p + down + before,
                        p + right + before, kept ? p_next + down + before : scratch,
                        kept ? p_next + right + before : scratch + width, width, ascent, p_relaxations[image]);
            }
        }
    }
}

#undef DESCEND
#undef ASCEND
#endif
