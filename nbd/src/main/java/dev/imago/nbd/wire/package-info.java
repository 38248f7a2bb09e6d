/**
 * The NBD protocol on paper: records and enums that parse and write, one to one with the protocol
 * document. No I/O; nothing here knows a socket or an image. All numbers are big endian, so buffers
 * must be, too.
 */
@NullMarked
package dev.imago.nbd.wire;

import org.jspecify.annotations.NullMarked;
