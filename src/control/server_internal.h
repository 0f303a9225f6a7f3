/* What server.c (socket, registry) and conn.c (streams, requests) share. */
#ifndef ZONEPOOL_CONTROL_SERVER_INTERNAL_H
#define ZONEPOOL_CONTROL_SERVER_INTERNAL_H

#include "control/control_server.h"

struct method {
        const char *name;
        control_handler handler;
        void *ctx;
};

struct control_server {
        struct loop *loop;
        struct loop_fd listener; /* fd -1: not listening */
        struct loop_timer retry; /* armed while descriptors have run out */
        char *path;
        gid_t gid;
        struct method *methods;
        size_t nmethods;
        struct list conns;
        unsigned nconns;
        unsigned npending; /* requests not answered yet */
        struct loop_timer pulse; /* armed while a request wants progress */
        struct list wanting; /* those requests */
};

/* server.c */
const struct method *server_find(const struct control_server *s, const char *name);

/* conn.c */
struct conn;
/* Takes fd. Refuses and closes when allowed is negative (-errno) with that text. */
void conn_accept(struct control_server *s, int fd, int allowed, const struct err *err);
void conn_stop_reading(struct control_server *s);
void conn_close_all(struct control_server *s);
void conn_pulse(struct control_server *s);

#endif
