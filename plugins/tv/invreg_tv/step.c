/* The pixelwise part of an iteration, and of a look at the gap, each in one pass over memory; included once for each
   precision. See Updates.advance in updates.py and primal_dual_gap in solution.py for the formulas. Arrays are contiguous, [B, C, H, W] and [B, 2, C, H, W]. */

#ifndef REAL
#include <math.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

#define REAL float
#define NAME step_float
#define GAP gap_float
#define GAP_ROW gap_row_float
#define FOLLOW_ROW follow_row_float
#define DESCEND_ROW descend_row_float
#define ASCEND_ROW ascend_row_float
#define SQRT sqrtf
#include "step.c"
#undef REAL
#undef NAME
#undef GAP
#undef GAP_ROW
#undef FOLLOW_ROW
#undef DESCEND_ROW
#undef ASCEND_ROW
#undef SQRT
#define REAL double
#define NAME step_double
#define GAP gap_double
#define GAP_ROW gap_row_double
#define FOLLOW_ROW follow_row_double
#define DESCEND_ROW descend_row_double
#define ASCEND_ROW ascend_row_double
#define SQRT sqrt
#include "step.c"

#else

/* What the loops do with one pixel: the first column has no neighbour on the left, the last one none on the right. */
#define DESCEND(j, LEFT) do { \
    REAL value = constant ? data[j] + constant[j] : data[j]; \
    REAL next = x[j] - tau * (value + pull * x[j] + weight * (has_above * above[j] + (LEFT) - down[j] - right[j])); \
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
    const REAL *restrict data, const REAL *restrict constant, const REAL *restrict above, const REAL *restrict down, const REAL *restrict right,
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

/* Adds what each pixel of a row has of |gradient x|, of |gradient x| - <gradient x, p>, and of the term of the box. */
static __attribute__((noinline)) void GAP_ROW(
    const REAL *restrict x, const REAL *restrict below, const REAL *restrict above, const REAL *restrict down,
    const REAL *restrict right, const REAL *restrict pulled_back, double *restrict lengths, double *restrict slacks,
    double *restrict of_box, int from, int to, int has_left, int has_right, REAL has_above,
    REAL weight, REAL low, REAL high)
{
    for (int j = from; j < to; j++) {
        const REAL a = below[j] - x[j], b = has_right ? x[j + 1] - x[j] : 0, length = SQRT(a * a + b * b);
        const REAL left = has_left ? right[j - 1] : 0;
        const REAL w = pulled_back[j] + weight * (has_above * above[j] + left - down[j] - right[j]);
        const REAL distance = w > 0 ? x[j] - low : x[j] - high;
        lengths[j] += length;
        slacks[j] += length - (a * down[j] + b * right[j]);
        of_box[j] += w * distance;
    }
}

/* The sums of these terms over each image, [images, 3]; scratch holds 3 * width numbers. */
EXPORT void GAP(
    const REAL *x, const REAL *p, const REAL *pulled_back, const REAL *lows, const REAL *highs, double *scratch,
    double *sums, long long images, long long channels, long long height, long long width, double weight)
{
    const long long size = height * width;
    double *lengths = scratch, *slacks = lengths + width, *of_box = slacks + width;
    for (long long image = 0; image < images; image++) {
        for (long long j = 0; j < 3 * width; j++)
            scratch[j] = 0;
        for (long long channel = 0; channel < channels; channel++) {
            const REAL *plane = x + (image * channels + channel) * size;
            const REAL *pull = pulled_back + (image * channels + channel) * size;
            const REAL *down = p + (2 * image * channels + channel) * size, *right = down + channels * size;
            for (long long i = 0; i < height; i++) {
                const long long row = i * width;
#define COLUMNS(from, to, has_left, has_right) GAP_ROW( \
    plane + row, plane + (i + 1 < height ? row + width : row), down + (i ? row - width : 0), down + row, \
    right + row, pull + row, lengths, slacks, of_box, from, to, has_left, has_right, i ? 1 : 0, weight, \
    lows[image], highs[image])
                COLUMNS(0, 1, 0, width > 1);
                COLUMNS(1, (int)width - 1, 1, 1);
                if (width > 1)
                    COLUMNS((int)width - 1, (int)width, 1, 0);
#undef COLUMNS
            }
        }
        for (int term = 0; term < 3; term++) {
            sums[3 * image + term] = 0;
            for (long long j = 0; j < width; j++)
                sums[3 * image + term] += scratch[term * width + j];
        }
    }
}

/* One row of what follows x. */
static inline __attribute__((always_inline)) void FOLLOW_ROW(
    const REAL *restrict x_bar, const REAL *restrict centre, REAL *restrict d, int width, REAL share)
{
    for (int j = 0; j < width; j++)
        d[j] += share * (x_bar[j] - centre[j] - d[j]);
}

EXPORT void NAME(
    const REAL *data, const REAL *constant, REAL *d, const REAL *centre, REAL *x, REAL *p, REAL *x_bar, REAL *x_next, REAL *p_next, REAL *scratch,
    const REAL *taus, const REAL *relaxations, const REAL *p_relaxations,
    long long images, long long channels, long long height, long long width, long long steps,
    double pull, double weight, double ascent, double low, double high, double share)
{
    const long long size = height * width;
    for (long long plane = 0; plane < images * channels; plane++) {
        const long long image = plane / channels, first = plane * size;
        const long long down = (2 * image * channels + plane % channels) * size, right = down + channels * size;
        for (long long step = 1; step <= steps; step++) {
            const int kept = x_next && step == steps;
            for (long long i = 0; i <= height; i++) {
                const long long row = i * width, before = row - width;
                if (i < height) {
#define DESCEND_WITH(constant) DESCEND_ROW( \
    data + first + row, constant, p + down + (i ? before : 0), p + down + row, p + right + row, x + first + row, \
    x_bar + first + row, kept ? x_next + first + row : scratch, width, i ? 1 : 0, pull, weight, taus[image], \
    relaxations[image], low, high)
                    if (constant)
                        DESCEND_WITH(constant + first + row);
                    else
                        DESCEND_WITH(0);
                    if (d)
                        FOLLOW_ROW(
                            x_bar + first + row, centre + first + row, d + first + row, width, (REAL)share);
                }
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
#undef DESCEND_WITH
#undef ASCEND
#endif
