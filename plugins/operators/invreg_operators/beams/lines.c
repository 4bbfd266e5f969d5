/* Sums over the pixels between neighbouring lines, and their transpose, for many mirrored images at once.
   Included once for each precision; lines.py says what the arguments are.

   In a row of pixels, a line crosses evenly from its left end e to e + slope. Of the pixels c, c + 1, ... from the one
   of e on, what lies on its left is M_q - M_(q+1), with the position r = e - c in the first of them and

       M_0 = r + slope / 2,   M_q = max(r + slope - q, 0)^2 / (2 slope).

   What lies between two lines is the difference. */

#ifndef REAL
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif
#define INLINE static inline __attribute__((always_inline))
#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
#define NAME(a) NAMED(a, REAL)

/* Numbers that lie together for a pixel or a bin, each of another image. */
#define LANES 8
/* Rows of pixels that are in the cache at once, while all lines cross them. */
#define ROWS 4

/* The columns of a table of lines: consecutive ones, as many bins between them, at least three pixels that a bin meets in
   a row and two that a line crosses there, and the rows in which they lie from left to right. */
enum { FIRST, BINS, CELLS, REACH, TOP, BOTTOM, COLUMNS };
/* Where the numbers of a lane lie: those of an image, and those of a view with so many bins. */
enum { OFFSET, ROW_STRIDE, COLUMN_STRIDE };
enum { START, BIN_STRIDE, COUNT };

#define REAL float
#include "lines.c"
#undef REAL
#define REAL double
#include "lines.c"

#else

typedef REAL NAME(lanes) __attribute__((vector_size(LANES * sizeof(REAL))));
#define VECTOR NAME(lanes)

/* The first pixel of each bin, and the shares of it and of the next ones, shares[m * stride + k]: loops over bins, which
   compilers make vectors of. */
INLINE void NAME(share)(
    const double *place, const double *slope, double row, REAL factor, int begin, int end, int cells, int reach,
    int padding, int width, int *cell, int *first, REAL *left, REAL *shares, int64_t stride)
{
    /* M_q, of which there is one more than a line crosses pixels; then the differences. */
    REAL *after = left + reach * stride, *halves = after + stride;
    INDEPENDENT
    for (int k = begin; k <= end; k++) {
        const double step = slope[k], low = step < 0 ? step : 0, ends = place[k] + row * step + low;
        const int truncated = (int)ends, c = truncated - (truncated > ends);
        int at = c + padding;
        at = at < 0 ? 0 : at;
        at = at > width + padding ? width + padding : at;
        cell[k] = c;
        first[k] = at;
        const REAL r = (REAL)(ends - c), s = (REAL)(step - low - low);
        REAL next = r + s - 1;
        next = next > 0 ? next : 0;
        halves[k] = (REAL)0.5 / (s + (REAL)1e-30); /* without a slope, the value does not matter */
        next = next * next * halves[k];
        after[k] = r + s;
        left[k] = r + s / 2 - next;
        left[stride + k] = next;
    }
    for (int q = 2; q < reach; q++) {
        REAL *here = left + q * stride, *before = here - stride;
        INDEPENDENT
        for (int k = begin; k <= end; k++) {
            REAL next = after[k] - q;
            next = next > 0 ? next : 0;
            next = next * next * halves[k];
            here[k] = next;
            before[k] -= next;
        }
    }
    for (int m = 0; m < cells; m++) {
        REAL *share = shares + m * stride, none = m < reach ? 1 : 0;
        const REAL *own = left + (m < reach ? m : 0) * stride;
        INDEPENDENT
        for (int k = begin; k < end; k++) {
            const int beyond = m - cell[k + 1] + cell[k];
            const REAL zeroth = left[k + 1], next = left[stride + k + 1];
            REAL found = beyond < 0 ? 1 : 0;
            found = beyond == 0 ? zeroth : found;
            found = beyond == 1 ? next : found;
            share[k] = (found - none * own[k]) * factor;
        }
        for (int q = 2; q < reach; q++) {
            INDEPENDENT
            for (int k = begin; k < end; k++) {
                const REAL next = left[q * stride + k + 1] * factor;
                share[k] += m - cell[k + 1] + cell[k] == q ? next : 0;
            }
        }
    }
}

INLINE void NAME(gather)(
    const VECTOR *pixels, VECTOR *bins, const int *first, const REAL *shares, int64_t stride, int cells, int begin,
    int end)
{
    for (int k = begin; k < end; k++) {
        const VECTOR *near = pixels + first[k];
        VECTOR sum = bins[k];
        sum += shares[k] * near[0] + shares[stride + k] * near[1];
        sum += shares[2 * stride + k] * near[2];
        for (int m = 3; m < cells; m++)
            sum += shares[m * stride + k] * near[m];
        bins[k] = sum;
    }
}

INLINE void NAME(scatter)(
    VECTOR *pixels, const VECTOR *bins, const int *first, const REAL *shares, int64_t stride, int cells, int begin,
    int end)
{
    for (int k = begin; k < end; k++) {
        VECTOR *near = pixels + first[k];
        const VECTOR bin = bins[k];
        near[0] += shares[k] * bin;
        near[1] += shares[stride + k] * bin;
        near[2] += shares[2 * stride + k] * bin;
        for (int m = 3; m < cells; m++)
            near[m] += shares[m * stride + k] * bin;
    }
}

EXPORT int NAME(product)(
    int transposed, REAL *x, REAL *y, int64_t images, int64_t x_size, int64_t y_size, int64_t mirrored,
    const int64_t *x_lanes, int64_t height, int64_t width, int64_t tables, const int64_t *table,
    const int64_t *y_lanes, const double *distances, const double *places, const double *slopes, const double *scales)
{
    int64_t total = 0, most = 0, padding = 3, reach = 2;
    for (int64_t t = 0; t < tables; t++) {
        const int64_t *lines = table + t * COLUMNS;
        total += lines[BINS];
        most = lines[BINS] > most ? lines[BINS] : most;
        padding = lines[CELLS] > padding ? lines[CELLS] : padding;
        reach = lines[REACH] > reach ? lines[REACH] : reach;
    }
    const int64_t lanes = images * mirrored, blocks = (lanes + LANES - 1) / LANES, across = width + 2 * padding;
    const int64_t stride = (most + 16) / 16 * 16 + 16, of_bins = total * blocks, of_rows = ROWS * blocks * across;
    char *memory = calloc((of_bins + of_rows + 1) * sizeof(VECTOR) + stride * (reach + 2 + padding) * sizeof(REAL)
                          + 2 * stride * sizeof(int) + 64, 1);
    if (!memory)
        return 1;
    VECTOR *all_bins = (VECTOR *)(memory + (64 - (uintptr_t)memory % 64)), *rows = all_bins + of_bins;
    REAL *left = (REAL *)(rows + of_rows), *shares = left + stride * (reach + 2);
    int *cell = (int *)(shares + stride * padding), *first = cell + stride;

    for (int64_t t = 0, bins = 0; transposed && t < tables; bins += table[t++ * COLUMNS + BINS] * blocks)
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t *to = y_lanes + (t * mirrored + lane % mirrored) * 3, *lines = table + t * COLUMNS;
            REAL *into = (REAL *)(all_bins + bins + lane / LANES * lines[BINS]) + lane % LANES;
            const REAL *from = y + lane / mirrored * y_size + to[START];
            for (int64_t k = 0; k < to[COUNT]; k++)
                into[k * LANES] = from[k * to[BIN_STRIDE]] * (REAL)scales[lines[FIRST] + k];
        }
    for (int64_t top = 0; top < height; top += ROWS) {
        const int64_t bottom = top + ROWS < height ? top + ROWS : height;
        if (transposed)
            memset(rows, 0, of_rows * sizeof(VECTOR));
        for (int64_t i = top; i < bottom && !transposed; i++)
            for (int64_t lane = 0; lane < lanes; lane++) {
                const int64_t *to = x_lanes + lane % mirrored * 3;
                const REAL *from = x + lane / mirrored * x_size + to[OFFSET] + i * to[ROW_STRIDE];
                VECTOR *row = rows + ((i - top) * blocks + lane / LANES) * across + padding;
                for (int64_t j = 0; j < width; j++)
                    ((REAL *)(row + j))[lane % LANES] = from[j * to[COLUMN_STRIDE]];
            }
        for (int64_t t = 0, bins = 0; t < tables; bins += table[t++ * COLUMNS + BINS] * blocks) {
            const int64_t *lines = table + t * COLUMNS;
            const double *place = places + lines[FIRST], *slope = slopes + lines[FIRST];
            int64_t begin = 0, end = lines[BINS];
            for (int64_t i = top > lines[TOP] ? top : lines[TOP]; i < bottom && i < lines[BOTTOM]; i++) {
                /* The bins that meet the row. Lines lie in order, and nearly as in the row above. */
#define RIGHT_END(k) (place[k] + i * slope[k] + (slope[k] > 0 ? slope[k] : 0))
#define LEFT_END(k) (place[k] + i * slope[k] + (slope[k] < 0 ? slope[k] : 0))
                while (begin > 0 && RIGHT_END(begin) > 0)
                    begin--;
                while (begin < lines[BINS] && RIGHT_END(begin + 1) <= 0)
                    begin++;
                while (end < lines[BINS] && LEFT_END(end) < width)
                    end++;
                while (end > begin && LEFT_END(end - 1) >= width)
                    end--;
                if (end <= begin) {
                    end = begin;
                    continue;
                }
                VECTOR *row = rows + (i - top) * blocks * across;
                const int cells = (int)lines[CELLS];
                const REAL factor = distances[t] < 1e300 ? (REAL)(1 / (distances[t] + i)) : 1;
                NAME(share)(
                    place, slope, (double)i, factor, (int)begin, (int)end, cells, (int)lines[REACH], (int)padding,
                    (int)width, cell, first, left, shares, stride);
                for (int64_t block = 0; block < blocks; block++, row += across) {
                    VECTOR *of_lines = all_bins + bins + block * lines[BINS];
                    if (transposed)
                        NAME(scatter)(row, of_lines, first, shares, stride, cells, (int)begin, (int)end);
                    else
                        NAME(gather)(row, of_lines, first, shares, stride, cells, (int)begin, (int)end);
                }
            }
        }
        for (int64_t i = top; i < bottom && transposed; i++)
            for (int64_t lane = 0; lane < lanes; lane++) {
                const int64_t *to = x_lanes + lane % mirrored * 3;
                REAL *into = x + lane / mirrored * x_size + to[OFFSET] + i * to[ROW_STRIDE];
                const VECTOR *row = rows + ((i - top) * blocks + lane / LANES) * across + padding;
                for (int64_t j = 0; j < width; j++)
                    into[j * to[COLUMN_STRIDE]] += ((const REAL *)(row + j))[lane % LANES];
            }
    }
    for (int64_t t = 0, bins = 0; !transposed && t < tables; bins += table[t++ * COLUMNS + BINS] * blocks)
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t *to = y_lanes + (t * mirrored + lane % mirrored) * 3, *lines = table + t * COLUMNS;
            const REAL *from = (const REAL *)(all_bins + bins + lane / LANES * lines[BINS]) + lane % LANES;
            REAL *into = y + lane / mirrored * y_size + to[START];
            for (int64_t k = 0; k < to[COUNT]; k++)
                into[k * to[BIN_STRIDE]] = from[k * LANES] * (REAL)scales[lines[FIRST] + k];
        }
    free(memory);
    return 0;
}

#undef VECTOR
#undef RIGHT_END
#undef LEFT_END
#endif
