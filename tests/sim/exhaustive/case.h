/* The case being tried, for whoever finds fault with it. One at a time in a process. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_CASE_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_CASE_H

#include <stdbool.h>

/* A case is a path: the sequence, then a state picked at each of the crashes,
 *
 *     BASE/ORDER/OPERATIONS [ "@" POINT "." STATE [ "@" POINT "." STATE ] ]
 *
 * such as aged/one/WOF@12.3@4.0. A crash point is a number of the run it belongs to, a state a
 * number of the crash point's. */
enum { CASE_MAX_CRASHES = 2 };

struct case_pick {
        unsigned point, state;
};

struct case_now {
        char sequence[64];
        unsigned ncrashes;
        struct case_pick crashes[CASE_MAX_CRASHES];
        const char *doing;
        bool verbose;
};

extern struct case_now case_now;

/* Prints what is wrong and how to try the case alone, and ends the process. */
void case_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* One line of what happens, where the user asked for it. */
#define case_trace(...)                                                                            \
        do {                                                                                       \
                if (case_now.verbose)                                                              \
                        case_trace_(__VA_ARGS__);                                                  \
        } while (0)
void case_trace_(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
