/* The socket and the messages before any ring runs. */
#include "t_vub.h"

#include "base/le.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static void test_offers_what_migration_needs(void)
{
        up();
        uint64_t features = t_ask_u64(&peer, VUB_GET_FEATURES);
        uint64_t protocol = t_ask_u64(&peer, VUB_GET_PROTOCOL_FEATURES);
        CU_ASSERT((features & UINT64_C(1) << 32) != 0); /* VERSION_1 */
        CU_ASSERT(features & 1 << 26); /* LOG_ALL */
        CU_ASSERT(features & 1 << 30); /* PROTOCOL_FEATURES */
        CU_ASSERT(protocol & 1 << 0); /* MQ */
        CU_ASSERT(protocol & 1 << 1); /* LOG_SHMFD */
        CU_ASSERT(protocol & 1 << 3); /* REPLY_ACK */
        CU_ASSERT(protocol & 1 << 9); /* CONFIG */
        CU_ASSERT(protocol & 1 << 12); /* INFLIGHT_SHMFD */
        CU_ASSERT_FALSE(features & 1 << 11); /* CONFIG_WCE: QEMU would not migrate it */
        CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_QUEUE_NUM), 64);
        down();
}

static void test_connecting_is_not_opening(void)
{
        struct vub_status status;

        up();
        t_handshake(&peer, T_FEATURES);
        t_settle(&rig);
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.peer_pid, getpid());
        CU_ASSERT_FALSE(status.rings_on);
        CU_ASSERT_PTR_NULL(nvc_front(rig.controller));
        CU_ASSERT_EQUAL(rig.nevents, 1);
        CU_ASSERT_EQUAL(rig.events[0], FRONT_CONNECTED);
        t_peer_hang_up(&peer);
        T_UNTIL(&rig, rig.nevents == 2);
        CU_ASSERT_EQUAL(rig.events[1], FRONT_DISCONNECTED);
        vub_server_status(rig.server, &status);
        CU_ASSERT_EQUAL(status.peer_pid, 0);
        down();
}

/* Messages that close the connection, and nothing else. */
static void test_malformed_messages_close_the_connection(void)
{
        static const struct {
                uint32_t request, flags, len;
                int nfds;
        } cases[] = {
            {VUB_GET_FEATURES, 0, 8, 0},
            {VUB_SET_FEATURES, 0, 7, 0},
            {VUB_SET_FEATURES, 0, 9, 0},
            {VUB_SET_FEATURES, 0, 8, 1},
            {VUB_SET_FEATURES, 4, 8, 0}, /* a reply */
            {VUB_SET_FEATURES, 2, 8, 0}, /* version 3 */
            {0, 0, 0, 0},
            {99, 0, 0, 0},
            {VUB_SET_MEM_TABLE, 0, 8, 1},
            {VUB_SET_MEM_TABLE, 0, 4, 0},
            {VUB_SET_VRING_ADDR, 0, 39, 0},
            {VUB_SET_INFLIGHT_FD, 0, 24, 0},
            {VUB_GET_INFLIGHT_FD, 0, 19, 0},
            {VUB_GET_INFLIGHT_FD, 0, 24, 0},
            {VUB_SET_VRING_NUM, 0, 8, 0},
            {VUB_SET_VRING_KICK, 0, 8, 0},
            {VUB_SET_BACKEND_REQ_FD, 0, 8, 0},
            {VUB_GET_CONFIG, 0, 11, 0},
            {VUB_SET_CONFIG, 0, 13, 0},
            {VUB_SET_LOG_BASE, 0, 16, 0},
            {VUB_SET_LOG_BASE, 0, 16, 1},
            {VUB_SET_VRING_CALL, 0, 8, 2},
            {VUB_GET_FEATURES, 0, 600, 0},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t zeroes[600] = {0};
                up();
                int fds[2] = {peer.mem_fd, peer.mem_fd};
                t_send(&peer, cases[i].request, cases[i].flags, zeroes, cases[i].len, fds,
                       cases[i].nfds);
                CU_ASSERT_TRUE(t_closed(&peer));
                CU_ASSERT_EQUAL(rig.ntrouble, 1);
                CU_ASSERT_PTR_NOT_NULL(strstr(rig.trouble, "closed"));
                if (rig.ntrouble != 1)
                        printf("case %zu\n", i);
                t_peer_hang_up(&peer);
                t_peer_reconnect(&peer); /* and the server is fine */
                CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_FEATURES), VUB_FEATURES);
                down();
        }
}

static void test_refusals_are_acknowledged_when_asked(void)
{
        uint8_t state[8], u64[8];

        up();
        t_handshake(&peer, T_FEATURES);
        put_le64(u64, UINT64_C(1) << 40);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_FEATURES, u64, 8, NULL, 0), 1);
        put_le32(state, 64); /* one too many */
        put_le32(state + 4, 128);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_NUM, state, 8, NULL, 0), 1);
        put_le32(state, 63);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_NUM, state, 8, NULL, 0), 0);
        static const struct {
                uint32_t num;
                uint64_t ack;
        } sizes[] = {{0, 1}, {1, 0}, {3, 1}, {1024, 0}, {1025, 1}, {2048, 1}, {65536 + 128, 1}};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                put_le32(state + 4, sizes[i].num);
                CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_NUM, state, 8, NULL, 0),
                                sizes[i].ack);
        }
        put_le64(u64, 0); /* a kick that is no eventfd might block us */
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_KICK, u64, 8, &peer.mem_fd, 1), 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.trouble, "no eventfd"));
        CU_ASSERT_FALSE(t_closed(&peer));
        down();
}

static void put_region(uint8_t *r, uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset)
{
        put_le64(r, gpa);
        put_le64(r + 8, size);
        put_le64(r + 16, user);
        put_le64(r + 24, offset);
}

static void test_memory_tables_are_checked(void)
{
        static const struct {
                uint64_t gpa, size, user, offset;
                uint64_t ack;
        } cases[] = {
            {0, 4096, 0, 0, 0},           {0, 0, 0, 0, 1},
            {0, T_MEM_BYTES, 0, 0, 0},    {0, T_MEM_BYTES + 1, 0, 0, 1},
            {0, T_MEM_BYTES, 0, 4096, 1}, {UINT64_MAX - 4095, 4097, 0, 0, 1},
            {0, 4096, UINT64_MAX, 0, 1},  {0, 4096, 0, UINT64_MAX, 1},
            {0, UINT64_MAX, 0, 1, 1},
        };
        uint8_t table[8 + 9 * VUB_REGION_BYTES] = {0};

        up();
        t_handshake(&peer, T_FEATURES);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                put_le32(table, 1);
                put_region(table + 8, cases[i].gpa, cases[i].size, cases[i].user, cases[i].offset);
                CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 40, &peer.mem_fd, 1),
                                cases[i].ack);
        }
        int fds[9] = {peer.mem_fd, peer.mem_fd, peer.mem_fd, peer.mem_fd, peer.mem_fd,
                      peer.mem_fd, peer.mem_fd, peer.mem_fd, peer.mem_fd};
        put_le32(table, 2); /* overlapping */
        put_region(table + 8, 0, 8192, 0, 0);
        put_region(table + 40, 8191, 4096, 8192, 0);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 72, fds, 2), 1);
        put_le32(table, 3); /* fewer descriptors than regions */
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 104, fds, 2), 1);
        put_le32(table, 8);
        for (unsigned i = 0; i < 9; i++)
                put_region(table + 8 + 32 * i, i * 4096, 4096, i * 4096, 0);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 8 + 8 * 32, fds, 8), 0);
        put_le32(table, 9);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_MEM_TABLE, table, 8 + 9 * 32, fds, 9), UINT64_MAX);
        down();
}

static int get_config(uint32_t offset, uint32_t size, uint8_t *config)
{
        uint8_t payload[VUB_CONFIG_HEADER + VUB_CONFIG_MAX] = {0};

        put_le32(payload, offset);
        put_le32(payload + 4, size);
        t_send(&peer, VUB_GET_CONFIG, 0, payload, VUB_CONFIG_HEADER + size, NULL, 0);
        int n = t_recv(&peer, VUB_GET_CONFIG, payload, sizeof(payload), NULL);
        if (n >= VUB_CONFIG_HEADER)
                memcpy(config, payload + VUB_CONFIG_HEADER, (size_t)n - VUB_CONFIG_HEADER);
        return n;
}

static void test_config_tells_geometry_and_follows_resize(void)
{
        uint8_t config[VUB_CONFIG_MAX] = {0}, news[12];
        int channel[2];

        up();
        t_handshake(&peer, T_FEATURES);
        CU_ASSERT_EQUAL(get_config(0, 57, config), 12 + 57); /* what QEMU 7.2 asks */
        CU_ASSERT_EQUAL(get_le64(config), T_DISK_BYTES / 512);
        CU_ASSERT_EQUAL(get_le32(config + 12), 126); /* seg_max */
        CU_ASSERT_EQUAL(get_le32(config + 20), 512); /* blk_size */
        CU_ASSERT_EQUAL(config[24], 3); /* 4096 physical */
        CU_ASSERT_EQUAL(get_le16(config + 34), 64); /* queues */
        CU_ASSERT_EQUAL(get_config(8, 4, config), 12 + 4);
        CU_ASSERT_EQUAL(get_le32(config), 256 * 1024); /* size_max */
        CU_ASSERT_EQUAL(get_config(0, 256, config), 12 + 256);
        CU_ASSERT_EQUAL(get_config(1, 256, config), 0); /* beyond: an empty answer */

        CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, channel), 0);
        t_send(&peer, VUB_SET_BACKEND_REQ_FD, 0, NULL, 0, &channel[1], 1);
        close(channel[1]);
        t_settle(&rig);
        rig.disk.size /= 2;
        vub_server_size_changed(rig.server);
        CU_ASSERT_EQUAL(recv(channel[0], news, sizeof(news), 0), 12);
        CU_ASSERT_EQUAL(get_le32(news), VUB_BACKEND_CONFIG_CHANGE);
        CU_ASSERT_EQUAL(get_le32(news + 8), 0);
        close(channel[0]);
        vub_server_size_changed(rig.server); /* a deaf peer does no harm */
        get_config(0, 57, config);
        CU_ASSERT_EQUAL(get_le64(config), T_DISK_BYTES / 1024);
        down();
}

static void test_a_second_peer_is_turned_away(void)
{
        struct t_peer other;

        up();
        t_peer_connect(&other, &rig);
        CU_ASSERT_TRUE(t_closed(&other));
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.trouble, "turned away"));
        CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_FEATURES), VUB_FEATURES);
        t_peer_hang_up(&other);
        t_peer_hang_up(&peer); /* gone, though the server has not heard of it yet */
        t_peer_reconnect(&other);
        CU_ASSERT_EQUAL(t_ask_u64(&other, VUB_GET_FEATURES), VUB_FEATURES);
        t_peer_free(&other);
        down();
}

static void test_a_noisy_peer_does_not_fill_the_log(void)
{
        uint8_t state[8] = {0};

        up();
        t_handshake(&peer, T_FEATURES);
        for (unsigned i = 0; i < 100; i++)
                CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_VRING_NUM, state, 8, NULL, 0), 1);
        CU_ASSERT_EQUAL(rig.ntrouble, 16);
        down();
}

/* Without a descriptor to spare the next peer waits, and is served when there is one. */
static void test_out_of_descriptors(void)
{
        struct rlimit was, none;
        struct t_peer other;

        up();
        t_peer_hang_up(&peer);
        T_UNTIL(&rig, t_saw(&rig, FRONT_DISCONNECTED));
        t_peer_connect(&other, &rig);
        t_peer_hang_up(&other);
        T_UNTIL(&rig, t_count(&rig, FRONT_DISCONNECTED) == 2);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        memcpy(addr.sun_path, rig.path, sizeof(rig.path));
        peer.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int probe = dup(peer.sock);
        CU_ASSERT_EQUAL(connect(peer.sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
        getrlimit(RLIMIT_NOFILE, &was);
        none = was;
        none.rlim_cur = (rlim_t)probe;
        close(probe);
        setrlimit(RLIMIT_NOFILE, &none);
        for (int i = 0; i < 5; i++)
                loop_turn(rig.loop, 20000000); /* would return at once if it span */
        setrlimit(RLIMIT_NOFILE, &was);
        CU_ASSERT_EQUAL(rig.ntrouble, 1);
        CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_FEATURES), VUB_FEATURES);
        t_peer_free(&other);
        down();
}

static void test_a_message_may_come_in_pieces(void)
{
        uint8_t header[12];

        up();
        put_le32(header, VUB_GET_FEATURES);
        put_le32(header + 4, VUB_FLAG_VERSION);
        put_le32(header + 8, 0);
        for (int i = 0; i < 12; i++) {
                CU_ASSERT_TRUE(t_silent(&peer));
                CU_ASSERT_EQUAL(send(peer.sock, header + i, 1, 0), 1);
        }
        uint8_t payload[8];
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_FEATURES, payload, 8, NULL), 8);
        down();
}

static int listen_at(struct vub_server **ret, struct err *err)
{
        struct front_observer observer = {0};
        return vub_server_new(rig.loop, rig.path, rig.controller, &rig.options, &observer, ret,
                              err);
}

static void test_socket_file_is_replaced_only_when_dead(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        struct vub_server *second = NULL;
        struct err err = ERR_INIT;
        struct stat st;

        t_rig_prepare(&rig, NULL);
        memcpy(addr.sun_path, rig.path, sizeof(rig.path));
        int dead = socket(AF_UNIX, SOCK_STREAM, 0);
        CU_ASSERT_EQUAL(bind(dead, (struct sockaddr *)&addr, sizeof(addr)), 0);
        close(dead); /* as a killed daemon leaves it */
        rig.options.mode = 0640;
        CU_ASSERT_EQUAL(listen_at(&rig.server, &err), 0);
        CU_ASSERT(stat(rig.path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0640);

        CU_ASSERT_EQUAL(listen_at(&second, &err), -EADDRINUSE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, rig.path));
        t_peer_connect(&peer, &rig);
        CU_ASSERT_EQUAL(t_ask_u64(&peer, VUB_GET_FEATURES), VUB_FEATURES);
        t_peer_free(&peer);
        t_settle(&rig);
        vub_server_free(rig.server);
        rig.server = NULL;
        CU_ASSERT(stat(rig.path, &st) < 0 && errno == ENOENT);

        close(open(rig.path, O_CREAT | O_WRONLY, 0600));
        CU_ASSERT_EQUAL(listen_at(&second, &err), -EEXIST);
        CU_ASSERT_EQUAL(stat(rig.path, &st), 0);
        unlink(rig.path);

        char longer[200];
        memset(longer, 'x', sizeof(longer) - 1);
        longer[0] = '/';
        longer[sizeof(longer) - 1] = '\0';
        struct front_observer observer = {0};
        CU_ASSERT_EQUAL(vub_server_new(rig.loop, longer, rig.controller, &rig.options, &observer,
                                       &second, &err),
                        -ENAMETOOLONG);
        t_rig_down(&rig);
}

static const struct t_case cases[] = {
    T_CASE(test_offers_what_migration_needs),
    T_CASE(test_connecting_is_not_opening),
    T_CASE(test_malformed_messages_close_the_connection),
    T_CASE(test_refusals_are_acknowledged_when_asked),
    T_CASE(test_memory_tables_are_checked),
    T_CASE(test_config_tells_geometry_and_follows_resize),
    T_CASE(test_a_second_peer_is_turned_away),
    T_CASE(test_a_noisy_peer_does_not_fill_the_log),
    T_CASE(test_out_of_descriptors),
    T_CASE(test_a_message_may_come_in_pieces),
    T_CASE(test_socket_file_is_replaced_only_when_dead),
};
T_MAIN("vhost-user handshake", cases)
