/* See fake_daemon.h. The lock guards everything but the descriptors, which the thread owns. */
#include "fake_daemon.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_MAX_ = 1 << 16 };

struct fake_daemon {
        pthread_t thread;
        pthread_mutex_t lock;
        int listener, stop;
        char path[108];
        char *bytes;
        size_t len;
        int raw, silent;
        unsigned requests;
        char last[LINE_MAX_], copy[LINE_MAX_];
};

/* Waits for fd; 0 when the test wants an end. */
static int wait_for(struct fake_daemon *d, int fd)
{
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = d->stop, .events = POLLIN}};

        return poll(p, 2, -1) > 0 && !p[1].revents;
}

static int read_request(struct fake_daemon *d, int fd)
{
        char line[LINE_MAX_];
        size_t len = 0;

        while (len < sizeof(line) - 1 && wait_for(d, fd)) {
                ssize_t n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
                if (n <= 0)
                        return 0;
                len += (size_t)n;
                if (line[len - 1] == '\n') {
                        line[len - 1] = '\0';
                        pthread_mutex_lock(&d->lock);
                        memcpy(d->last, line, len);
                        d->requests++;
                        pthread_mutex_unlock(&d->lock);
                        return 1;
                }
        }
        return 0;
}

static void serve(struct fake_daemon *d, int fd)
{
        char whole[LINE_MAX_];

        if (!read_request(d, fd))
                return;
        pthread_mutex_lock(&d->lock);
        const char *id = strstr(d->last, "\"id\":");
        int silent = d->silent;
        size_t len = d->len;
        if (d->raw)
                memcpy(whole, d->bytes, len);
        else
                len = (size_t)snprintf(whole, sizeof(whole), "{\"id\":%ld,%.*s}\n",
                                       id ? strtol(id + 5, NULL, 10) : 0, (int)d->len, d->bytes);
        int raw = d->raw;
        pthread_mutex_unlock(&d->lock);
        if (!silent && len > 0)
                send(fd, whole, len, MSG_NOSIGNAL);
        char c;
        if (silent || !raw) /* until the client hangs up */
                while (wait_for(d, fd) && recv(fd, &c, 1, 0) > 0)
                        ;
}

static void *run(void *arg)
{
        struct fake_daemon *d = arg;

        while (wait_for(d, d->listener)) {
                int fd = accept(d->listener, NULL, NULL);
                if (fd < 0)
                        continue;
                serve(d, fd);
                close(fd);
        }
        return NULL;
}

struct fake_daemon *fake_daemon_start(const char *dir)
{
        struct fake_daemon *d = calloc(1, sizeof(*d));
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        if (!d)
                return NULL;
        snprintf(d->path, sizeof(d->path), "%s/zonepoold.sock", dir);
        strcpy(addr.sun_path, d->path);
        pthread_mutex_init(&d->lock, NULL);
        fake_daemon_answer(d, "\"result\":{}");
        d->stop = eventfd(0, EFD_CLOEXEC);
        d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (d->stop < 0 || d->listener < 0 ||
            bind(d->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
            listen(d->listener, 8) < 0 || pthread_create(&d->thread, NULL, run, d) != 0)
                abort();
        return d;
}

void fake_daemon_stop(struct fake_daemon *d)
{
        uint64_t one = 1;

        if (write(d->stop, &one, sizeof(one)) != sizeof(one))
                abort();
        pthread_join(d->thread, NULL);
        close(d->listener);
        close(d->stop);
        unlink(d->path);
        pthread_mutex_destroy(&d->lock);
        free(d->bytes);
        free(d);
}

static void set(struct fake_daemon *d, const char *bytes, size_t len, int raw, int silent)
{
        char *copy = malloc(len + 1);

        if (!copy || len >= LINE_MAX_ - 64)
                abort();
        memcpy(copy, bytes, len);
        copy[len] = '\0';
        pthread_mutex_lock(&d->lock);
        free(d->bytes);
        d->bytes = copy;
        d->len = len;
        d->raw = raw;
        d->silent = silent;
        pthread_mutex_unlock(&d->lock);
}

void fake_daemon_answer(struct fake_daemon *d, const char *body)
{
        set(d, body, strlen(body), 0, 0);
}

void fake_daemon_say(struct fake_daemon *d, const char *bytes, size_t len)
{
        set(d, bytes, len, 1, 0);
}

void fake_daemon_be_silent(struct fake_daemon *d)
{
        set(d, "", 0, 1, 1);
}

unsigned fake_daemon_requests(struct fake_daemon *d)
{
        pthread_mutex_lock(&d->lock);
        unsigned n = d->requests;
        pthread_mutex_unlock(&d->lock);
        return n;
}

const char *fake_daemon_last(struct fake_daemon *d)
{
        pthread_mutex_lock(&d->lock);
        memcpy(d->copy, d->last, sizeof(d->copy));
        pthread_mutex_unlock(&d->lock);
        return d->copy;
}
