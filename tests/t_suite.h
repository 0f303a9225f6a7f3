/* The one place that knows CUnit: a test program is a table of named cases.
 *
 *   static void test_reads_back_what_was_written(void) { ... CU_ASSERT_EQUAL(...); }
 *   static const struct t_case cases[] = {T_CASE(test_reads_back_what_was_written)};
 *   T_MAIN("file device", cases)
 *
 * Exit codes: 0 pass, 1 fail, 77 skip (t_skip prints the reason).
 */
#ifndef ZONEPOOL_TESTS_T_SUITE_H
#define ZONEPOOL_TESTS_T_SUITE_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

enum { T_SKIP = 77 };

struct t_case {
        const char *name;
        void (*run)(void);
};

#define T_CASE(fn)                                                                                 \
        {                                                                                          \
#fn, fn                                                                            \
        }

__attribute__((noreturn)) static inline void t_skip(const char *why)
{
        printf("SKIP: %s\n", why);
        exit(T_SKIP);
}

static inline int t_run(const char *suite, const struct t_case *cases, size_t n)
{
        if (CU_initialize_registry() != CUE_SUCCESS)
                return 1;
        CU_pSuite s = CU_add_suite(suite, NULL, NULL);
        for (size_t i = 0; s && i < n; i++)
                if (!CU_add_test(s, cases[i].name, cases[i].run))
                        return 1;
        CU_basic_set_mode(CU_BRM_NORMAL);
        CU_basic_run_tests();
        unsigned failed = CU_get_number_of_failures();
        CU_cleanup_registry();
        return failed || !s ? 1 : 0;
}

#define T_MAIN(suite, cases)                                                                       \
        int main(void)                                                                             \
        {                                                                                          \
                return t_run(suite, cases, sizeof(cases) / sizeof((cases)[0]));                    \
        }

#endif
