/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.c: the guardian's part of the robot port: reads STATE and BYE, writes COMMAND. docs/robot-port.md specifies the
 * bytes; edgerl/runtime/wire.py is the same format in Python, and tests compare the two. A datagram is data from a
 * stranger: nothing of it is used before all of it is checked. A session has either checksums or tags, and takes
 * nothing of the other form. It owns no socket.
 */
#include "internal.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "datagrams and shared memory are little-endian, and this machine is not"
#endif

#define VERSION 1u
#define VERSION_AUTHENTICATED 0x0101u
#define STATE_BODY 8u    /* flags, count, zero */
#define BYE_BODY 4u      /* reason, zero */
#define COMMAND_BODY 32u /* echoes, valid_for, mode, source, flags, count, zero */
#define CRC_BYTES 4u

static const uint8_t MAGIC[4] = {'E', 'R', 'L', 'P'};

/* CRC-32 as in zlib (reflected polynomial 0xEDB88320), four bits at a time: 64 bytes of table stay in the cache. */
static const uint32_t CRC_NIBBLES[16] = {
    0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
    0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
};

uint32_t erl_crc32(const void *bytes, size_t count) {
    const uint8_t *data = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < count; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ CRC_NIBBLES[crc & 15u];
        crc = (crc >> 4) ^ CRC_NIBBLES[crc & 15u];
    }
    return ~crc;
}

static uint16_t get16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t get64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint8_t *put(uint8_t *at, const void *value, size_t bytes) {
    memcpy(at, value, bytes);
    return at + bytes;
}

static uint32_t parse_state(const uint8_t *body, uint32_t state_count, erl_state *out) {
    const uint32_t known = ERL_STATE_EPISODE_START | ERL_STATE_LOCKSTEP | ERL_STATE_ESTOP | ERL_STATE_WAITING |
                           ERL_STATE_DONE;
    out->flags = get32(body);
    if ((out->flags & ~known) != 0 || get16(body + 4) != state_count || get16(body + 6) != 0) {
        return ERL_DROP_FIELD;
    }
    memcpy(out->values, body + STATE_BODY, state_count * sizeof(float));
    return ERL_DROP_CAUSES;
}

static uint16_t version_of(const erl_config *config) {
    return config->authenticated ? VERSION_AUTHENTICATED : VERSION;
}

static size_t end_bytes(const erl_config *config) {
    return config->authenticated ? ERL_TAG_BYTES : CRC_BYTES;
}

size_t erl_wire_state_bytes(const erl_config *config) {
    return ERL_WIRE_HEADER + STATE_BODY + 4u * config->state_count + end_bytes(config);
}

static bool end_is_good(const uint8_t *bytes, size_t size, const erl_config *config) {
    const size_t body = size - end_bytes(config);
    if (!config->authenticated) {
        return get32(bytes + body) == erl_crc32(bytes, body);
    }
    uint8_t tag[ERL_TAG_BYTES];
    erl_blake2s(config->receive_key, ERL_KEY_BYTES, bytes, (uint32_t)body, tag, ERL_TAG_BYTES);
    return erl_tags_equal(tag, bytes + body);
}

/* ERL_DROP_CAUSES: it is good; ERL_WIRE_WELCOME: unread, and no reason to count it; otherwise the erl_drop that it is
 * dropped for. */
uint32_t erl_wire_parse(const uint8_t *bytes, size_t size, const erl_config *config, erl_state *out) {
    if (size < ERL_WIRE_HEADER + end_bytes(config) || size > ERL_MAX_DATAGRAM) {
        return ERL_DROP_LENGTH;
    }
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0) {
        return ERL_DROP_MAGIC;
    }
    if (get16(bytes + 4) != version_of(config)) {
        return ERL_DROP_VERSION;
    }
    out->kind = get16(bytes + 6);
    if (out->kind == ERL_KIND_WELCOME && get64(bytes + 8) == config->session) {
        return ERL_WIRE_WELCOME;
    }
    if (out->kind != ERL_KIND_STATE && out->kind != ERL_KIND_BYE) {
        return ERL_DROP_KIND;
    }
    if (size != (out->kind == ERL_KIND_STATE ? erl_wire_state_bytes(config)
                                             : ERL_WIRE_HEADER + BYE_BODY + end_bytes(config))) {
        return ERL_DROP_LENGTH;
    }
    if (!end_is_good(bytes, size, config)) {
        return ERL_DROP_CRC;
    }
    if (get64(bytes + 8) != config->session) {
        return ERL_DROP_SESSION;
    }
    out->sequence = get64(bytes + 16);
    out->stamp_ns = get64(bytes + 24);
    if (out->kind == ERL_KIND_BYE) {
        return get16(bytes + ERL_WIRE_HEADER + 2) == 0 ? ERL_DROP_CAUSES : ERL_DROP_FIELD;
    }
    return parse_state(bytes + ERL_WIRE_HEADER, config->state_count, out);
}

/* Writes the datagram to `out`, ERL_MAX_DATAGRAM bytes; returns its size. */
uint32_t erl_wire_command(const erl_command *command, const erl_config *config, uint8_t *out) {
    const uint16_t version = version_of(config);
    const uint16_t kind = ERL_KIND_COMMAND;
    const uint16_t zero = 0;
    uint8_t *at = put(out, MAGIC, sizeof MAGIC);
    at = put(at, &version, 2);
    at = put(at, &kind, 2);
    at = put(at, &config->session, 8);
    at = put(at, &command->sequence, 8);
    at = put(at, &command->stamp_ns, 8);
    at = put(at, &command->state_sequence, 8);
    at = put(at, &command->state_stamp_ns, 8);
    at = put(at, &command->valid_for_ns, 8);
    at = put(at, &command->mode, 1);
    at = put(at, &command->source, 1);
    at = put(at, &zero, 2); /* flags: none in this version */
    at = put(at, &command->count, 2);
    at = put(at, &zero, 2);
    at = put(at, command->values, command->count * sizeof(float));
    const uint32_t bytes = (uint32_t)(at - out);
    if (config->authenticated) {
        erl_blake2s(config->send_key, ERL_KEY_BYTES, out, bytes, at, ERL_TAG_BYTES);
    } else {
        const uint32_t crc = erl_crc32(out, bytes);
        memcpy(at, &crc, CRC_BYTES);
    }
    return bytes + (uint32_t)end_bytes(config);
}

_Static_assert(ERL_WIRE_HEADER + COMMAND_BODY + 4u * ERL_MAX_COMMANDS + ERL_TAG_BYTES <= ERL_MAX_DATAGRAM,
               "one datagram");
_Static_assert(ERL_WIRE_HEADER + STATE_BODY + 4u * ERL_MAX_STATES + CRC_BYTES <= ERL_MAX_DATAGRAM, "one datagram");
