/* One residual function f = W S K on states with channels last: its evaluation, the adjoint of its derivative, and the
   gradients of its weights. To be compiled with REAL (float or double), M and H (channels of states and of hidden
   activations, multiples of 8 and 16) and SIZE (of K). Work is divided into rows of all images of a batch, or into images;
   what is computed for a row does not depend on how it is divided. */

#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define BYTES 64
#define SUMS 24
#else
#define BYTES 32
#define SUMS 12
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

#define LANES ((int)(BYTES / sizeof(REAL)))
#define MARGIN (SIZE / 2)
/* Where states have fewer channels than a register holds, neighbouring pixels share one: their kernels look at one
   window, which is wider by a pixel for each, and have zeros where it is not theirs. */
#define GROUP (LANES > M ? LANES / M : 1)
#define BLOCKS(channels) ((channels) % (2 * LANES) == 0 ? 2 : 1)
/* Of the rows that are worked on at once: half of the second cache, about. */
#define CACHED 262144

typedef REAL vec __attribute__((vector_size(BYTES)));
typedef REAL loose __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));

/* 0 where torch is faster: where the compiler may not use what the processor can do. */
int lanes(void)
{
#if defined(__x86_64__) && !defined(__AVX2__)
    return 0;
#else
    return LANES;
#endif
}

/* For `pixels` windows that are `step` apart, the products of rows x length numbers with weights
   [rows][length][blocks][LANES], added to `start` [blocks][LANES]. */
INLINE void windows(const REAL *x, long stride, const int rows, const int length, const int step, const REAL *weights,
                    const REAL *start, REAL *out, const int out_step, const int blocks, const int pixels)
{
    vec sum[SUMS];
    UNROLL for (int b = 0; b < blocks; b++) {
        vec first = (vec){0};
        if (start)
            first = (vec)*(const loose *)(start + b * LANES);
        UNROLL for (int p = 0; p < pixels; p++)
            sum[p * blocks + b] = first;
    }
    for (int row = 0; row < rows; row++, x += stride)
        for (int j = 0; j < length; j++, weights += blocks * LANES) {
            vec w[2];
            UNROLL for (int b = 0; b < blocks; b++)
                w[b] = (vec)*(const loose *)(weights + b * LANES);
            UNROLL for (int p = 0; p < pixels; p++) {
                REAL value = x[p * step + j];
                UNROLL for (int b = 0; b < blocks; b++)
                    sum[p * blocks + b] += w[b] * value;
            }
        }
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int b = 0; b < blocks; b++)
            *(loose *)(out + p * out_step + b * LANES) = (loose)sum[p * blocks + b];
}

/* How many windows at once leave the fewest over at the end of a row. */
static int tile(int count, int blocks)
{
    int best = SUMS / blocks;
    for (int one = best - 4 / blocks; one >= (SUMS - 8) / blocks; one -= 4 / blocks)
        if ((count + one - 1) / one * one < (count + best - 1) / best * best)
            best = one;
    return best;
}

/* The same for all channels, `pixels` (a tile) windows at once, [count][channels] and some more: weights are
   [channels / (blocks LANES)][SIZE][length][blocks LANES]. */
INLINE void convolved(const REAL *x, long stride, const int length, const int step, const REAL *weights,
                      const REAL *start, REAL *out, const int channels, int count, int pixels)
{
    const int blocks = BLOCKS(channels), most = SUMS / blocks, less = 4 / blocks;
    for (int at = 0; at < channels; at += blocks * LANES, weights += (long)SIZE * length * blocks * LANES)
        for (int p = 0; p < count; p += pixels) {
            const REAL *here = x + (long)p * step, *bias = start ? start + at : 0;
            REAL *there = out + (long)p * channels + at;
            if (pixels == most)
                windows(here, stride, SIZE, length, step, weights, bias, there, channels, blocks, most);
            else if (pixels == most - less)
                windows(here, stride, SIZE, length, step, weights, bias, there, channels, blocks, most - less);
            else
                windows(here, stride, SIZE, length, step, weights, bias, there, channels, blocks, most - 2 * less);
        }
}

/* A matrix, packed in the same way, applied to `count` vectors of this length. */
INLINE void multiplied(const REAL *x, const int length, const REAL *weights, const REAL *start, REAL *out,
                       const int channels, int count)
{
    const int blocks = BLOCKS(channels), pixels = SUMS / blocks;
    for (int at = 0; at < channels; at += blocks * LANES, weights += (long)length * blocks * LANES)
        for (int p = 0; p < count; p += pixels)
            windows(x + (long)p * length, 0, 1, length, length, weights, start ? start + at : 0,
                    out + (long)p * channels + at, channels, blocks, pixels);
}

INLINE int rounded(int count)
{
    return count + SUMS; /* more than any tile leaves over */
}

static REAL *room(long count)
{
    return aligned_alloc(64, (sizeof(REAL) * count + 127) / 64 * 64);
}

/* How many rows of this many bytes are worked on at once. */
INLINE int strip_of(long bytes)
{
    long rows = CACHED / bytes - 2 * MARGIN;
    return rows < 4 ? 4 : rows > 32 ? 32 : (int)rows;
}

/* A row of an image [width][channels] with zeros on both sides; zeros if it is outside. */
INLINE void pad(const REAL *row, REAL *padded, int width, const int channels, int columns)
{
    int left = MARGIN * channels, all = columns * channels, inside = row ? width * channels : 0;
    memset(padded, 0, sizeof(REAL) * left);
    if (row)
        memcpy(padded + left, row, sizeof(REAL) * inside);
    memset(padded + left + inside, 0, sizeof(REAL) * (all - left - inside));
}

/* What a step x -> value leaves to be said of a row: next = value + ahead (value - x), and the squares of the norms of
   value - x and value. All but x and value may be null; `left` has room for a row. */
INLINE void tell(const REAL *x, const REAL *value, const REAL *ahead, REAL *next, double *squares, REAL *left, REAL *further,
                 int width)
{
    if (!next && !squares)
        return;
    vec steps = (vec){0}, sizes = (vec){0};
    int j = 0;
    for (; j + LANES <= width * M; j += LANES) {
        vec new = (vec)*(const loose *)(value + j), step = new - (vec)*(const loose *)(x + j);
        *(loose *)(left + j) = (loose)step;
        steps += step * step;
        sizes += new * new;
    }
    double step_sum = 0, size_sum = 0;
    for (int lane = 0; lane < LANES; lane++) {
        step_sum += steps[lane];
        size_sum += sizes[lane];
    }
    for (; j < width * M; j++) {
        left[j] = value[j] - x[j];
        step_sum += left[j] * left[j];
        size_sum += value[j] * value[j];
    }
    if (squares) {
        squares[0] = step_sum;
        squares[1] = size_sum;
    }
    if (!next)
        return;
    multiplied(left, GROUP * M, ahead, 0, further, GROUP * M, (width + GROUP - 1) / GROUP);
    for (j = 0; j < width * M; j++)
        next[j] = value[j] + further[j];
}

/* The end of the strip that begins at a row: within its image, and before last. */
INLINE long strip_end(long row, int strip, long last, int height)
{
    const long end = row + strip < last ? row + strip : last, image_end = row / height * height + height;
    return end < image_end ? end : image_end;
}

/* value = base + output_bias + W h with h = S(K x + bias), for rows first to last of all images. hidden gets h, next and
   squares what `tell` says; those that are null are left out. kernel, mixing and ahead are packed, output_bias is repeated
   GROUP times. */
void evaluate(const REAL *x, const REAL *base, const REAL *kernel, const REAL *bias, const REAL *mixing,
              const REAL *output_bias, const REAL *ahead, double limit, REAL *value, REAL *hidden, REAL *next,
              double *squares, long first, long last, int height, int width)
{
    const REAL threshold = (REAL)limit;
    const int columns = rounded(width) + 2 * MARGIN, strip = strip_of(sizeof(REAL) * columns * M);
    const int groups = (width + GROUP - 1) / GROUP, pixels = tile(width, BLOCKS(H)), wide = GROUP * rounded(groups);
    REAL *padded = room((long)(strip + 2 * MARGIN) * columns * M), *h = room((long)wide * H);
    REAL *mixed = room((long)wide * M), *left = room((long)wide * M), *further = room((long)wide * M);
    memset(h, 0, sizeof(REAL) * wide * H);
    memset(left, 0, sizeof(REAL) * wide * M);
    for (long row = first, bottom; row < last; row = bottom) {
        long image = row / height * height;
        bottom = strip_end(row, strip, last, height);
        for (long one = row - MARGIN; one < bottom + MARGIN; one++)
            pad(one < image || one >= image + height ? 0 : x + one * width * M,
                padded + (one - row + MARGIN) * columns * M, width, M, columns);
        for (long one = row; one < bottom; one++) {
            const REAL *above = padded + (one - row) * columns * M, *from = base + one * width * M;
            convolved(above, (long)columns * M, SIZE * M, M, kernel, bias, h, H, width, pixels);
            for (int j = 0; j < width * H; j++) {
                REAL a = h[j], b = a < threshold ? a : threshold;
                h[j] = a - (b > -threshold ? b : -threshold); /* NaN stays NaN */
            }
            if (hidden)
                memcpy(hidden + one * width * H, h, sizeof(REAL) * width * H);
            multiplied(h, GROUP * H, mixing, output_bias, mixed, GROUP * M, groups);
            for (int j = 0; j < width * M; j++)
                mixed[j] += from[j];
            if (value)
                memcpy(value + one * width * M, mixed, sizeof(REAL) * width * M);
            tell(x + one * width * M, mixed, ahead, next ? next + one * width * M : 0, squares ? squares + 2 * one : 0,
                 left, further, width);
        }
    }
    free(padded), free(h), free(mixed), free(left), free(further);
}

/* u = S'(K x) W* w for a row; `some` has room for it. */
INLINE void pulled(const REAL *w, const REAL *mixing, const REAL *hidden, REAL *u, REAL *some, int width)
{
    REAL *copy = some + (long)rounded(width) * H; /* with room at the end */
    memcpy(copy, w, sizeof(REAL) * width * M);
    multiplied(copy, M, mixing, 0, some, H, width);
    for (int j = 0; j < width * H; j++)
        u[j] = hidden[j] != 0 ? some[j] : 0;
}

/* value = base + K* S'(K x) W* w at the x with these hidden activations, for rows first to last; the rest as above. */
void adjoint(const REAL *w, const REAL *hidden, const REAL *base, const REAL *kernel, const REAL *mixing,
             const REAL *ahead, REAL *value, REAL *next, double *squares, long first, long last, int height, int width)
{
    const int groups = (width + GROUP - 1) / GROUP, pixels = tile(groups, BLOCKS(GROUP * M));
    const int wide = GROUP * rounded(groups), columns = wide + 2 * MARGIN, strip = strip_of(sizeof(REAL) * columns * H);
    REAL *padded = room((long)(strip + 2 * MARGIN) * columns * H), *some = room((long)rounded(width) * (H + M));
    REAL *found = room((long)wide * M), *left = room((long)wide * M), *further = room((long)wide * M);
    memset(some, 0, sizeof(REAL) * rounded(width) * (H + M));
    memset(left, 0, sizeof(REAL) * wide * M);
    for (long row = first, bottom; row < last; row = bottom) {
        long image = row / height * height;
        bottom = strip_end(row, strip, last, height);
        for (long one = row - MARGIN; one < bottom + MARGIN; one++) {
            REAL *line = padded + (one - row + MARGIN) * columns * H;
            pad(0, line, width, H, columns);
            if (one >= image && one < image + height)
                pulled(w + one * width * M, mixing, hidden + one * width * H, line + MARGIN * H, some, width);
        }
        for (long one = row; one < bottom; one++) {
            const REAL *above = padded + (one - row) * columns * H, *from = base + one * width * M;
            convolved(above, (long)columns * H, (SIZE + GROUP - 1) * H, GROUP * H, kernel, 0, found, GROUP * M, groups,
                      pixels);
            for (int j = 0; j < width * M; j++)
                found[j] += from[j];
            if (value)
                memcpy(value + one * width * M, found, sizeof(REAL) * width * M);
            tell(w + one * width * M, found, ahead, next ? next + one * width * M : 0, squares ? squares + 2 * one : 0,
                 left, further, width);
        }
    }
    free(padded), free(some), free(found), free(left), free(further);
}

/* next = value + ahead r + taps r with r = value - x, for rows first to last: taps [5][5][M] are a kernel for each channel. */
void answer(const REAL *x, const REAL *value, const REAL *ahead, const REAL *taps, REAL *next, long first, long last,
            int height, int width)
{
    const int groups = (width + GROUP - 1) / GROUP, wide = GROUP * rounded(groups) + 4, strip = strip_of(sizeof(REAL) * wide * M);
    REAL *padded = room((long)(strip + 4) * wide * M), *further = room((long)wide * M);
    memset(padded, 0, sizeof(REAL) * (strip + 4) * wide * M);
    for (long row = first, bottom; row < last; row = bottom) {
        long image = row / height * height;
        bottom = strip_end(row, strip, last, height);
        for (long one = row - 2; one < bottom + 2; one++) {
            REAL *line = padded + (one - row + 2) * wide * M + 2 * M;
            if (one < image || one >= image + height)
                memset(line, 0, sizeof(REAL) * width * M);
            else
                for (int j = 0; j < width * M; j++)
                    line[j] = value[one * width * M + j] - x[one * width * M + j];
        }
        for (long one = row; one < bottom; one++) {
            const REAL *above = padded + (one - row) * wide * M;
            multiplied(above + (2L * wide + 2) * M, GROUP * M, ahead, 0, further, GROUP * M, groups);
            for (int p = 0; p < width; p++) {
                REAL sum[M];
                for (int m = 0; m < M; m++)
                    sum[m] = value[(one * width + p) * M + m] + further[p * M + m];
                for (int line = 0; line < 5; line++)
                    for (int column = 0; column < 5; column++)
                        for (int m = 0; m < M; m++)
                            sum[m] += taps[(line * 5 + column) * M + m] * above[((long)line * wide + p + column) * M + m];
                for (int m = 0; m < M; m++)
                    next[(one * width + p) * M + m] = sum[m];
            }
        }
    }
    free(padded), free(further);
}

/* Adds the sums over pixels of x[j] u[h] to out [taps][H], for `taps` values of j and blocks LANES of h. */
INLINE void products(const REAL *x, long x_row, const REAL *u, int rows, int width, REAL *out, const int blocks,
                     const int taps)
{
    vec sum[SUMS];
    UNROLL for (int j = 0; j < taps * blocks; j++)
        sum[j] = (vec){0};
    for (int row = 0; row < rows; row++)
        for (int p = 0; p < width; p++) {
            const REAL *xs = x + row * x_row + (long)p * M, *us = u + ((long)row * width + p) * H;
            vec w[2];
            UNROLL for (int b = 0; b < blocks; b++)
                w[b] = (vec)*(const loose *)(us + b * LANES);
            UNROLL for (int j = 0; j < taps; j++) {
                REAL value = xs[j];
                UNROLL for (int b = 0; b < blocks; b++)
                    sum[j * blocks + b] += w[b] * value;
            }
        }
    UNROLL for (int j = 0; j < taps; j++)
        UNROLL for (int b = 0; b < blocks; b++) {
            loose *place = (loose *)(out + j * H + b * LANES);
            *place = *place + (loose)sum[j * blocks + b];
        }
}

/* The same for `length` values of j, a multiple of 8, and all h. */
INLINE void all_products(const REAL *x, long x_row, const int length, const REAL *u, int rows, int width, REAL *out)
{
    const int blocks = BLOCKS(H), most = SUMS / blocks, many = length % most == 0 ? most : length % 10 == 0 && most >= 10 ? 10 : 4;
    for (int h = 0; h < H; h += blocks * LANES)
        for (int j = 0; j < length; j += many)
            products(x + j, x_row, u + h, rows, width, out + (long)j * H + h, blocks, many);
}

/* Gradients for each image from first to last: of K [SIZE][SIZE][M][H], W [M][H], the hidden biases [H] and, to be summed up,
   the threshold [H], where w is the gradient of f(x). */
void gradients(const REAL *x, const REAL *w, const REAL *hidden, const REAL *mixing, REAL *to_kernel, REAL *to_mixing,
               REAL *to_bias, REAL *to_threshold, long first, long last, int height, int width)
{
    const int columns = width + 2 * MARGIN, strip = strip_of(sizeof(REAL) * columns * H);
    REAL *padded = room((long)(strip + 2 * MARGIN) * columns * M), *u = room((long)strip * width * H);
    REAL *some = room((long)rounded(width) * (H + M));
    memset(some, 0, sizeof(REAL) * rounded(width) * (H + M));
    memset(to_kernel + first * SIZE * SIZE * M * H, 0, sizeof(REAL) * (last - first) * SIZE * SIZE * M * H);
    memset(to_mixing + first * M * H, 0, sizeof(REAL) * (last - first) * M * H);
    memset(to_bias + first * H, 0, sizeof(REAL) * (last - first) * H);
    memset(to_threshold + first * H, 0, sizeof(REAL) * (last - first) * H);
    for (long image = first; image < last; image++)
        for (int top = 0; top < height; top += strip) {
            int rows = top + strip < height ? strip : height - top;
            long here = (image * height + top) * width;
            for (int row = top - MARGIN; row < top + rows + MARGIN; row++)
                pad(row < 0 || row >= height ? 0 : x + (image * height + row) * width * M,
                    padded + (long)(row - top + MARGIN) * columns * M, width, M, columns);
            for (int row = 0; row < rows; row++)
                pulled(w + (here + (long)row * width) * M, mixing, hidden + (here + (long)row * width) * H,
                       u + (long)row * width * H, some, width);
            for (int row = 0; row < SIZE; row++)
                all_products(padded + (long)row * columns * M, (long)columns * M, SIZE * M, u, rows, width,
                             to_kernel + (image * SIZE + row) * SIZE * M * H);
            all_products(w + here * M, (long)width * M, M, hidden + here * H, rows, width, to_mixing + image * M * H);
            REAL *bias = to_bias + image * H, *threshold = to_threshold + image * H;
            for (long p = 0; p < (long)rows * width; p++)
                for (int h = 0; h < H; h++) {
                    REAL value = u[p * H + h];
                    bias[h] += value;
                    threshold[h] += hidden[(here + p) * H + h] < 0 ? value : -value;
                }
        }
    free(padded), free(u), free(some);
}
