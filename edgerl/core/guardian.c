/* SPDX-License-Identifier: Apache-2.0
 *
 * guardian.c: the guardian process. It maps what it was handed, sets itself up, and ticks until it is told to quit.
 *
 *     edgerl-guardian CONFIG STATUS REQUESTS OBSERVATION RING ACTION0 ACTION1 ACTION2 ROBOT [TO_ROBOT]
 *
 * Each argument is an inherited descriptor. The robot is a connected UDP socket, or the mailbox that its driver writes
 * and the one that the guardian writes, as the configuration says. It opens nothing and reads nothing else from its
 * arguments. Exit code 0: it was told to quit, or lost its supervisor; 1: it refused to start, and the status says why.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG = 1, STATUS, REQUESTS, OBSERVATION, RING, ACTIONS, ROBOT = ACTIONS + ERL_POLICY_SLOTS, TO_ROBOT };

static erl_loop loop;
static erl_config config;
static erl_robot robot;

static void on_terminate(int signal_number) {
    (void)signal_number;
    erl_loop_terminate(&loop);
}

/* A terminal's Ctrl-C reaches the whole group: it is the supervisor's to turn into an orderly end. */
static void ignore_signals(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* Until the loop has started, SIGTERM simply kills: nothing has been said to the robot yet. */
static void end_on_terminate(void) {
    struct sigaction terminate = {.sa_handler = on_terminate};
    sigaction(SIGTERM, &terminate, NULL);
}

static int descriptor_of(const char *text) {
    char *end = NULL;
    errno = 0;
    const long number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && number >= 0 && number <= 65535 ? (int)number : -1;
}

/* NULL: not a segment of at least `bytes` whose first words are these. */
static void *map_version(const char *text, size_t bytes, uint32_t magic, uint32_t version, int protection) {
    const int descriptor = descriptor_of(text);
    struct stat about;
    if (descriptor < 0 || fstat(descriptor, &about) != 0 || about.st_size < (off_t)bytes) {
        return NULL;
    }
    void *start = mmap(NULL, bytes, protection, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    close(descriptor);
    if (start == MAP_FAILED) {
        return NULL;
    }
    const uint32_t *header = start;
    return header[0] == magic && header[1] == version ? start : NULL;
}

static void *map(const char *text, size_t bytes, uint32_t magic, int protection) {
    return map_version(text, bytes, magic, ERL_LAYOUT_VERSION, protection);
}

static int connected_socket(const char *text) {
    const int descriptor = descriptor_of(text);
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    int type = 0;
    socklen_t type_bytes = sizeof type;
    if (descriptor < 0 || getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_bytes) != 0 || type != SOCK_DGRAM ||
        getpeername(descriptor, (struct sockaddr *)&peer, &bytes) != 0) {
        return -1;
    }
    return descriptor;
}

static void *map_mailbox(const char *text, int protection) {
    return map_version(text, sizeof(erl_datagram_mailbox), ERL_DATAGRAM_MAGIC, ERL_DATAGRAM_VERSION, protection);
}

/* The arguments end with a NULL. */
static bool find_robot(char **arguments) {
    robot.spin_ns = config.spin_ns;
    if (config.port == ERL_PORT_UDP) {
        robot.descriptor = connected_socket(arguments[ROBOT]);
        return robot.descriptor >= 0 && arguments[TO_ROBOT] == NULL;
    }
    if (arguments[TO_ROBOT] == NULL) {
        return false;
    }
    robot.from = map_mailbox(arguments[ROBOT], PROT_READ);
    robot.to = map_mailbox(arguments[TO_ROBOT], PROT_READ | PROT_WRITE);
    return robot.from != NULL && robot.to != NULL;
}

static bool map_segments(char **arguments, erl_segments *segments) {
    const int both = PROT_READ | PROT_WRITE;
    segments->requests = map(arguments[REQUESTS], sizeof(erl_requests), ERL_REQUESTS_MAGIC, PROT_READ);
    segments->observation =
        map(arguments[OBSERVATION], sizeof(erl_observation_mailbox), ERL_OBSERVATION_MAGIC, both);
    segments->ring = map(arguments[RING], erl_ring_bytes(&config), ERL_RING_MAGIC, both);
    bool actions = true;
    for (uint32_t i = 0; i < ERL_POLICY_SLOTS; i++) {
        segments->actions[i] = map(arguments[ACTIONS + i], sizeof(erl_action_mailbox), ERL_ACTION_MAGIC, PROT_READ);
        actions = actions && segments->actions[i] != NULL;
    }
    return segments->requests != NULL && segments->observation != NULL && actions &&
           segments->ring != NULL && find_robot(arguments);
}

static uint32_t read_config(const char *text) {
    const erl_config *shared = map(text, sizeof(erl_config), ERL_CONFIG_MAGIC, PROT_READ);
    if (shared == NULL) {
        return ERL_START_SEGMENT;
    }
    config = *shared;
    munmap((void *)(uintptr_t)shared, sizeof(erl_config));
    return erl_config_check(&config);
}

static int lock_memory(const erl_segments *segments) {
    const struct {
        const void *start;
        size_t bytes;
    } parts[] = {
        {segments->status, sizeof(erl_status_block)},
        {segments->requests, sizeof(erl_requests)},
        {segments->observation, sizeof(erl_observation_mailbox)},
        {segments->ring, erl_ring_bytes(&config)},
        {segments->actions[0], sizeof(erl_action_mailbox)},
        {segments->actions[1], sizeof(erl_action_mailbox)},
        {segments->actions[2], sizeof(erl_action_mailbox)},
        {robot.from, sizeof(erl_datagram_mailbox)},
        {robot.to, sizeof(erl_datagram_mailbox)},
    };
    _Static_assert(ERL_POLICY_SLOTS == 3, "each slot is locked");
    int first = erl_realtime_lock_process();
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].start == NULL) {
            continue; /* a robot on UDP has no mailboxes */
        }
        const int error = erl_realtime_lock_segment(parts[i].start, parts[i].bytes);
        first = first != 0 ? first : error;
    }
    return first;
}

static bool set_up_realtime(const erl_segments *segments) {
    erl_status *status = &loop.status;
    status->lock_errno = config.lock_memory ? lock_memory(segments) : 0;
    status->affinity_errno = erl_realtime_affinity(config.cpu);
    status->priority_errno = erl_realtime_priority(config.priority);
    const bool refused = status->lock_errno != 0 || status->affinity_errno != 0 || status->priority_errno != 0;
    return !config.production || (!refused && config.lock_memory && config.priority > 0);
}

static uint32_t start(char **arguments, erl_segments *segments) {
    uint32_t fault = read_config(arguments[CONFIG]);
    if (fault != ERL_CONFIG_OK) {
        return fault;
    }
    if (!map_segments(arguments, segments)) {
        return ERL_START_SEGMENT;
    }
    const erl_port port = config.port == ERL_PORT_SHM ? erl_shm_port(&robot) : erl_udp_port(&robot);
    fault = erl_loop_start(&loop, &config, segments, &port);
    if (fault != ERL_CONFIG_OK) {
        return fault;
    }
    end_on_terminate();
    return set_up_realtime(segments) ? ERL_CONFIG_OK : ERL_START_REALTIME;
}

int main(int count, char **arguments) {
    if (count != TO_ROBOT && count != TO_ROBOT + 1) {
        fputs("edgerl-guardian is started by `edgerl run`, with inherited descriptors.\n", stderr);
        return EXIT_FAILURE;
    }
    ignore_signals();
    erl_segments segments = {0};
    segments.status = map(arguments[STATUS], sizeof(erl_status_block), ERL_STATUS_MAGIC, PROT_READ | PROT_WRITE);
    if (segments.status == NULL) {
        return EXIT_FAILURE;
    }
    const uint32_t fault = start(arguments, &segments);
    loop.status.pid = getpid();
    loop.status.start_fault = fault;
    loop.status.phase = fault == ERL_CONFIG_OK ? ERL_PHASE_READY : ERL_PHASE_REFUSED;
    loop.status.time_ns = erl_clock_now();
    erl_status_publish(segments.status, &loop.status);
    if (fault != ERL_CONFIG_OK) {
        return EXIT_FAILURE;
    }
    while (erl_tick(&loop) == ERL_OK) {
    }
    return EXIT_SUCCESS;
}
