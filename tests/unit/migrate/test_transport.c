/* Addresses of peers, and connecting to them by number and by name. */
#include "migrate/peer/transport.h"

#include "base/cleanup.h"
#include "t_suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;

static void test_addresses(void)
{
        static const struct {
                const char *address, *name; /* name NULL: refused; "": numeric */
        } rows[] = {
            {"192.0.2.1:7480", ""},
            {"[2001:db8::1]:7480", ""},
            {"[::1]:1", ""},
            {"hostb:65535", "hostb"},
            {"host-b.example.org:7480", "host-b.example.org"},
            {"hostb.example.org.:7480", "hostb.example.org."},
            {"4u.example:7480", "4u.example"},
            {"10.0.0.300:7480", NULL},
            {"10.0.0:7480x", NULL},
            {"hostb", NULL},
            {"hostb:", NULL},
            {"hostb:0", NULL},
            {"hostb:65536", NULL},
            {":7480", NULL},
            {"*:7480", NULL},
            {".:7480", NULL},
            {"a..b:7480", NULL},
            {".hostb:7480", NULL},
            {"-hostb:7480", NULL},
            {"hostb-.org:7480", NULL},
            {"host_b:7480", NULL},
            {"host b:7480", NULL},
            {"[hostb]:7480", NULL},
            {"a2345678901234567890123456789012345678901234567890123456789012:1", NULL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char name[TRANSPORT_ADDRESS] = "?";
                struct err err = ERR_INIT;
                int rc = transport_address_check(rows[i].address, name, &err);
                if (rc != (rows[i].name ? 0 : -EINVAL) ||
                    (rows[i].name && strcmp(name, rows[i].name) != 0))
                        printf("\n    %s: %d '%s' %s\n", rows[i].address, rc, name, err.msg);
                CU_ASSERT_EQUAL(rc, rows[i].name ? 0 : -EINVAL);
                CU_ASSERT_STRING_EQUAL(name, rows[i].name ? rows[i].name : "");
                CU_ASSERT_EQUAL(!rows[i].name, strstr(err.msg, "is not HOST:PORT") != NULL);
        }
}

static struct {
        bool up, closed, accepted;
        struct err why;
        uint8_t byte;
        struct transport_conn *in;
} seen;

static void on_up(void *ctx)
{
        seen.up = true;
}

static void *on_space(void *ctx, size_t *ret_len)
{
        *ret_len = 1;
        return &seen.byte;
}

static int on_filled(void *ctx, size_t len)
{
        return 0;
}

static void on_closed(void *ctx, const struct err *err)
{
        seen.closed = true;
        seen.why = *err;
}

static const struct transport_reader reader = {on_up, on_space, on_filled, on_closed, NULL};

static void on_accepted(void *ctx, struct transport_conn *conn, const char *peer_address)
{
        seen.accepted = true;
        seen.in = conn;
        transport_tcp.set_reader(conn, &reader);
}

static unsigned free_port(void)
{
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(sa);
        CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_STREAM, 0);

        CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&sa, len), 0);
        CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        return ntohs(sa.sin_port);
}

/* Returns the longest turn of the loop. */
static uint64_t turn_until(const bool *flag, unsigned seconds)
{
        uint64_t end = clock_now_ns() + seconds * UINT64_C(1000000000), longest = 0;

        while (!*flag && clock_now_ns() < end) {
                uint64_t before = clock_now_ns();
                loop_turn(loop, 1000000);
                longest = MAX(longest, clock_now_ns() - before);
        }
        CU_ASSERT_TRUE(*flag);
        return longest;
}

static struct transport_conn *dial(const char *host, unsigned port)
{
        struct transport_conn *conn = NULL;
        struct err err = ERR_INIT;
        char address[TRANSPORT_ADDRESS];

        memset(&seen, 0, sizeof(seen));
        snprintf(address, sizeof(address), "%s:%u", host, port);
        CU_ASSERT_EQUAL_FATAL(transport_tcp.connect(loop, address, &conn, &err), 0);
        transport_tcp.set_reader(conn, &reader);
        CU_ASSERT_FALSE(seen.up || seen.closed);
        return conn;
}

/* localhost is ::1 first where the host has it, and there nobody listens: the next one is tried. */
static void test_a_name_is_connected_to_and_so_is_a_number(void)
{
        static const char *const hosts[] = {"127.0.0.1", "localhost"};
        struct transport_listener *l;
        struct err err = ERR_INIT;
        char address[TRANSPORT_ADDRESS];
        unsigned port = free_port();

        snprintf(address, sizeof(address), "127.0.0.1:%u", port);
        CU_ASSERT_EQUAL_FATAL(transport_tcp.listen(loop, address, NULL, on_accepted, &l, &err), 0);
        for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
                struct transport_conn *conn = dial(hosts[i], port);
                turn_until(&seen.up, 10);
                turn_until(&seen.accepted, 10);
                CU_ASSERT_FALSE(seen.closed);
                transport_tcp.close(conn);
                transport_tcp.close(seen.in);
        }
        transport_tcp.unlisten(l);
        dial("localhost", port);
        turn_until(&seen.closed, 10);
        CU_ASSERT_FALSE(seen.up);
        CU_ASSERT_PTR_NOT_NULL(strstr(seen.why.msg, "connecting"));
}

static void test_a_name_that_does_not_exist_ends_with_text_and_blocks_nothing(void)
{
        dial("no-such-host.invalid", 7480);
        uint64_t longest = turn_until(&seen.closed, 10);
        CU_ASSERT_TRUE(longest < UINT64_C(1000000000));
        CU_ASSERT_FALSE(seen.up);
        bool said = strstr(seen.why.msg, "'no-such-host.invalid' cannot be resolved") ||
                    strstr(seen.why.msg, "looking up its name"); /* no name server answers */
        if (!said)
                printf("\n    %s\n", seen.why.msg);
        CU_ASSERT_TRUE(said);
}

static void test_a_connection_closed_while_its_name_is_looked_up_is_gone(void)
{
        for (int i = 0; i < 40; i++) { /* more than may be under way: lookups end, too */
                struct transport_conn *conn = dial("localhost", 7480);
                transport_tcp.close(conn);
                uint64_t end = clock_now_ns() + 20000000;
                while (clock_now_ns() < end)
                        loop_turn(loop, 1000000);
                CU_ASSERT_FALSE(seen.up || seen.closed);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_addresses),
    T_CASE(test_a_name_is_connected_to_and_so_is_a_number),
    T_CASE(test_a_name_that_does_not_exist_ends_with_text_and_blocks_nothing),
    T_CASE(test_a_connection_closed_while_its_name_is_looked_up_is_gone),
};

int main(void)
{
        setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
        if (loop_new(&loop) < 0)
                return 1;
        int rc = t_run("transport", cases, ARRAY_SIZE(cases));
        loop_free(loop);
        return rc;
}
