/* Masks as packed bits, applied in one pass over memory.
 *
 * Bit i of byte j speaks of entry 8*j + i. Entries are integers of 1, 2, 4 or 8 bytes (the bit
 * patterns of floats), contiguous. Every function does what the torch operations of bit_masks.py
 * and bit_values.py do, bit for bit; those are used where this file cannot be compiled. */
#include <stdint.h>
#include <string.h>

#define API __attribute__((visibility("default")))

/* How the 64 bits from entry 64*j on begin: whole words that change nothing are passed over. */
static inline uint64_t word(const uint8_t *bits, int64_t j) {
    uint64_t w;
    memcpy(&w, bits + 8 * j, 8);
    return w;
}

/* For every byte j of the bits do what follows; words of 64 entries equal to SAME are passed over. */
#define EACH_BYTE(BITS, N, SAME, ...)                              \
    for (int64_t w = 0; w < (N) / 64; w++) {                       \
        if (word(BITS, w) == (SAME)) continue;                     \
        for (int64_t j = 8 * w; j < 8 * w + 8; j++) __VA_ARGS__    \
    }                                                              \
    for (int64_t j = (N) / 64 * 8; j < (N) / 8; j++) __VA_ARGS__

#define WIDTH(W, T)                                                                               \
    typedef T v##W __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));    \
    /* eight lanes, all ones where the bit of the byte is set */                                  \
    static inline v##W spread##W(T b) {                                                           \
        const v##W at = {1, 2, 4, 8, 16, 32, 64, (T)128};                                         \
        const v##W all = {b, b, b, b, b, b, b, b};                                                \
        return (v##W)((all & at) != 0);                                                           \
    }                                                                                             \
    static inline T one##W(const uint8_t *bits, int64_t i) {                                      \
        return (T) - (T)((bits[i >> 3] >> (i & 7)) & 1);                                          \
    }                                                                                             \
                                                                                                  \
    /* x = x AND keep */                                                                          \
    API void and_##W(T *x, const uint8_t *bits, int64_t n) {                                      \
        EACH_BYTE(bits, n, ~(uint64_t)0, { *(v##W *)(x + 8 * j) &= spread##W((T)bits[j]); })      \
        for (int64_t i = n / 8 * 8; i < n; i++) x[i] &= one##W(bits, i);                          \
    }                                                                                             \
    /* x = x AND NOT drop */                                                                      \
    API void clear_##W(T *x, const uint8_t *bits, int64_t n) {                                    \
        EACH_BYTE(bits, n, 0, { *(v##W *)(x + 8 * j) &= ~spread##W((T)bits[j]); })                \
        for (int64_t i = n / 8 * 8; i < n; i++) x[i] &= (T)~one##W(bits, i);                      \
    }                                                                                             \
    /* x[bits] = value */                                                                         \
    API void fill_##W(T *x, const uint8_t *bits, int64_t n, int64_t value) {                      \
        T v = (T)value;                                                                           \
        const v##W all = {v, v, v, v, v, v, v, v};                                                \
        EACH_BYTE(bits, n, 0, {                                                                   \
            v##W *at = (v##W *)(x + 8 * j), m = spread##W((T)bits[j]);                            \
            *at = (*at & ~m) | (all & m);                                                         \
        })                                                                                        \
        for (int64_t i = n / 8 * 8; i < n; i++) {                                                 \
            T m = one##W(bits, i);                                                                \
            x[i] = (T)((x[i] & ~m) | (v & m));                                                    \
        }                                                                                         \
    }                                                                                             \
    /* to[bits] = from[bits]; then from[bits] = 0 if asked */                                     \
    API void move_##W(T *from, T *to, const uint8_t *bits, int64_t n, int clear) {                \
        EACH_BYTE(bits, n, 0, {                                                                   \
            v##W *a = (v##W *)(from + 8 * j), *b = (v##W *)(to + 8 * j);                          \
            v##W m = spread##W((T)bits[j]), x = *a;                                               \
            *b = (*b & ~m) | (x & m);                                                             \
            if (clear) *a = x & ~m;                                                               \
        })                                                                                        \
        for (int64_t i = n / 8 * 8; i < n; i++) {                                                 \
            T m = one##W(bits, i), x = from[i];                                                   \
            to[i] = (T)((to[i] & ~m) | (x & m));                                                  \
            if (clear) from[i] = (T)(x & ~m);                                                     \
        }                                                                                         \
    }                                                                                             \
    /* to = from[bits], 0 elsewhere; then from[bits] = 0 if asked; `to` need not be set before */ \
    API void split_##W(T *from, T *to, const uint8_t *bits, int64_t n, int clear) {               \
        for (int64_t j = 0; j < n / 8; j++) {                                                     \
            v##W *a = (v##W *)(from + 8 * j), *b = (v##W *)(to + 8 * j);                          \
            v##W m = spread##W((T)bits[j]), x = *a;                                               \
            *b = x & m;                                                                           \
            if (clear) *a = x & ~m;                                                               \
        }                                                                                         \
        for (int64_t i = n / 8 * 8; i < n; i++) {                                                 \
            T m = one##W(bits, i), x = from[i];                                                   \
            to[i] = x & m;                                                                        \
            if (clear) from[i] = (T)(x & ~m);                                                     \
        }                                                                                         \
    }                                                                                             \
    /* x = (x AND keep) OR saved */                                                               \
    API void restore_##W(T *x, const uint8_t *keep, const T *saved, int64_t n) {                  \
        int64_t whole = n / 8;                                                                    \
        for (int64_t j = 0; j < whole; j++) {                                                     \
            v##W *at = (v##W *)(x + 8 * j);                                                       \
            *at = (*at & spread##W((T)keep[j])) | *(const v##W *)(saved + 8 * j);                 \
        }                                                                                         \
        for (int64_t i = 8 * whole; i < n; i++) x[i] = (T)((x[i] & one##W(keep, i)) | saved[i]);  \
    }                                                                                             \
    /* how many x[bits] are not 0 */                                                              \
    API int64_t nonzero_##W(const T *x, const uint8_t *bits, int64_t n) {                         \
        int64_t whole = n / 8, found = 0;                                                         \
        for (int64_t j = 0; j < whole; j++) {                                                     \
            v##W m = *(const v##W *)(x + 8 * j) & spread##W((T)bits[j]);                          \
            T any = 0;                                                                            \
            for (int k = 0; k < 8; k++) any |= m[k];                                              \
            if (any)                                                                              \
                for (int k = 0; k < 8; k++) found += m[k] != 0;                                   \
        }                                                                                         \
        for (int64_t i = 8 * whole; i < n; i++) found += (T)(x[i] & one##W(bits, i)) != 0;        \
        return found;                                                                             \
    }                                                                                             \
    /* values = x[bits], in order; `end` is one past the last of them */                          \
    API void gather_##W(const T *x, const uint8_t *bits, int64_t n, T *values, const T *end) {    \
        int64_t i = 0;                                                                            \
        for (; i + 8 <= n && values + 8 <= end; i += 8) { /* no branch: each is written, or over */\
            unsigned b = bits[i >> 3];                                                            \
            for (int k = 0; k < 8; k++) {                                                         \
                *values = x[i + k];                                                               \
                values += (b >> k) & 1;                                                           \
            }                                                                                     \
        }                                                                                         \
        for (; i < n; i++)                                                                        \
            if ((bits[i >> 3] >> (i & 7)) & 1) *values++ = x[i];                                  \
    }                                                                                             \
    /* x[bits] = values, in order; `end` is one past the last of them */                          \
    API void scatter_##W(T *x, const uint8_t *bits, int64_t n, const T *values, const T *end) {   \
        int64_t i = 0;                                                                            \
        for (; i + 8 <= n && values + 8 <= end; i += 8) {                                         \
            unsigned b = bits[i >> 3];                                                            \
            for (int k = 0; k < 8; k++) {                                                         \
                T m = (T) - (T)((b >> k) & 1);                                                    \
                x[i + k] = (T)((x[i + k] & ~m) | (*values & m));                                  \
                values += (b >> k) & 1;                                                           \
            }                                                                                     \
        }                                                                                         \
        for (; i < n; i++)                                                                        \
            if ((bits[i >> 3] >> (i & 7)) & 1) x[i] = *values++;                                  \
    }

WIDTH(1, uint8_t)
WIDTH(2, uint16_t)
WIDTH(4, uint32_t)
WIDTH(8, uint64_t)

typedef float f16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int8_t b16 __attribute__((vector_size(16), aligned(1), may_alias));

/* One pass of the bracket search (choosing/bracket.py) over float32 scores, with their sign turned
 * where `turn` is -1. Scores below `low` are chosen in `out`; those in [low, high] are left out and
 * their number and place are kept, the first `room` of them. With `apart`, those equal to an end are
 * only counted. totals: below, at low, at high. Returns how many were in between. */
API int64_t scan_f32(const float *scores, const uint8_t *allowed, int64_t n, float turn, float low,
                     float high, int apart, uint8_t *out, int64_t *spots, float *inside,
                     int64_t room, int64_t offset, int64_t *totals) {
    int64_t found = 0, below = 0, at_low = 0, at_high = 0, whole = n / 16 * 16;
    for (int64_t i = 0; i < n; i += 16) {
        uint32_t between = 0; /* bit k: entry i + k; few are, when the sample is good */
        if (i < whole) {
            f16 v = *(const f16 *)(scores + i) * turn;
            b16 chosen = __builtin_convertvector(v < low, b16) & 1;
            b16 held = __builtin_convertvector((v >= low) & (v <= high), b16) & 1;
            if (allowed) {
                b16 may = *(const b16 *)(allowed + i);
                chosen &= may;
                held &= may;
            }
            *(b16 *)(out + i) = chosen;
            uint64_t half[2];
            memcpy(half, &chosen, 16);
            below += __builtin_popcountll(half[0] | half[1] << 1);
            memcpy(half, &held, 16);
            if (!(half[0] | half[1])) continue;
            const uint64_t squeeze = 0x0102040810204080u; /* eight bytes of 0 or 1 -> eight bits */
            between = (uint32_t)(half[0] * squeeze >> 56) | (uint32_t)(half[1] * squeeze >> 56) << 8;
        } else {
            for (int64_t k = i; k < n; k++) {
                float v = scores[k] * turn;
                uint8_t may = allowed ? allowed[k] : 1;
                out[k] = (v < low) & may;
                below += out[k];
                between |= (uint32_t)((v >= low) & (v <= high) & may) << (k - i);
            }
        }
        for (; between; between &= between - 1) {
            int64_t k = i + __builtin_ctz(between);
            float v = scores[k] * turn;
            if (apart && v == low) {
                at_low++;
            } else if (apart && v == high) {
                at_high++;
            } else {
                if (found < room) {
                    spots[found] = offset + k;
                    inside[found] = v;
                }
                found++;
            }
        }
    }
    totals[0] += below;
    totals[1] += at_low;
    totals[2] += at_high;
    return found;
}

/* Choose, among n kept places, those below the edge and the first `ties` of those equal to it.
 * `out` is one tensor's mask, whose places are offset .. offset + size. Returns the ties left. */
API int64_t settle_f32(const int64_t *spots, const float *inside, int64_t n, float edge,
                       int64_t ties, int64_t offset, int64_t size, uint8_t *out) {
    for (int64_t i = 0; i < n; i++) {
        int64_t at = spots[i] - offset;
        if (at < 0 || at >= size) continue;
        if (inside[i] < edge) {
            out[at] = 1;
        } else if (inside[i] == edge && ties > 0) {
            out[at] = 1;
            ties--;
        }
    }
    return ties;
}

/* Choose the `drop` lowest of every 4 consecutive scores; of equal ones the first. */
API void lowest_of_4_f32(const float *scores, int64_t groups, int drop, uint8_t *out) {
    for (int64_t g = 0; g < groups; g++) {
        float a = scores[4 * g], b = scores[4 * g + 1], c = scores[4 * g + 2], d = scores[4 * g + 3];
        int ab = a <= b, ac = a <= c, ad = a <= d, bc = b <= c, bd = b <= d, cd = c <= d;
        out[4 * g] = 3 - ab - ac - ad < drop;
        out[4 * g + 1] = ab + 2 - bc - bd < drop;
        out[4 * g + 2] = ac + bc + 1 - cd < drop;
        out[4 * g + 3] = ad + bd + cd < drop;
    }
}
