/* src/base/loop: order of timers, deferred calls, removal in the middle of a turn. */
#include "base/loop.h"
#include "t_suite.h"

#include <sys/epoll.h>

static int order[8], norder;

struct probe {
        struct loop_timer timer;
        struct loop_defer defer;
        struct loop_fd watch;
        struct loop *loop;
        struct probe *victim;
        int tag;
};

static void on_timer(struct loop_timer *t)
{
        order[norder++] = list_entry(t, struct probe, timer)->tag;
}

static void test_timers_fire_in_order_of_due_time(void)
{
        struct loop *loop;
        struct probe p[3];

        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        norder = 0;
        for (int i = 0; i < 3; i++)
                p[i] = (struct probe){.timer.fire = on_timer, .tag = i};
        uint64_t now = clock_now_ns();
        loop_timer_arm(loop, &p[0].timer, now + 300);
        loop_timer_arm(loop, &p[1].timer, now + 100);
        loop_timer_arm(loop, &p[2].timer, now + 200);
        loop_timer_arm(loop, &p[1].timer, now + 400); /* moved */
        loop_timer_disarm(&p[0].timer);
        while (norder < 2)
                loop_turn(loop, UINT64_MAX);
        CU_ASSERT_EQUAL(order[0], 2);
        CU_ASSERT_EQUAL(order[1], 1);
        CU_ASSERT_FALSE(loop_timer_armed(&p[0].timer));
        loop_free(loop);
}

static void on_defer(struct loop_defer *d)
{
        struct probe *p = list_entry(d, struct probe, defer);
        order[norder++] = p->tag;
        if (norder < 3)
                loop_defer(p->loop, d);
}

static void test_a_deferred_call_that_defers_itself_waits_for_the_next_turn(void)
{
        struct loop *loop;
        struct probe p = {.defer.call = on_defer, .tag = 7};

        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        p.loop = loop;
        norder = 0;
        loop_defer(loop, &p.defer);
        loop_defer(loop, &p.defer);
        for (int turn = 1; turn <= 4; turn++) {
                loop_turn(loop, 0);
                CU_ASSERT_EQUAL(norder, turn < 3 ? turn : 3);
        }
        loop_free(loop);
}

static void on_ready(struct loop_fd *w, uint32_t events)
{
        struct probe *p = list_entry(w, struct probe, watch);
        order[norder++] = p->tag;
        loop_fd_del(&p->victim->watch);
        loop_fd_del(w);
}

static void test_a_descriptor_removed_in_a_turn_is_not_called_in_it(void)
{
        struct loop *loop;
        struct probe p[2];
        int fds[2][2];

        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        norder = 0;
        for (int i = 0; i < 2; i++) {
                CU_ASSERT_EQUAL_FATAL(pipe(fds[i]), 0);
                CU_ASSERT_EQUAL(write(fds[i][1], "x", 1), 1);
                p[i] =
                    (struct probe){.watch = {.fd = fds[i][0], .ready = on_ready}, .victim = &p[!i]};
                CU_ASSERT_EQUAL(loop_fd_add(loop, &p[i].watch, EPOLLIN), 0);
        }
        loop_turn(loop, 0);
        loop_turn(loop, 0);
        CU_ASSERT_EQUAL(norder, 1);
        for (int i = 0; i < 4; i++)
                close(fds[i / 2][i % 2]);
        loop_free(loop);
}

static const struct t_case cases[] = {
    T_CASE(test_timers_fire_in_order_of_due_time),
    T_CASE(test_a_deferred_call_that_defers_itself_waits_for_the_next_turn),
    T_CASE(test_a_descriptor_removed_in_a_turn_is_not_called_in_it),
};
T_MAIN("loop", cases)
