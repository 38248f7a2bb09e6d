package dev.imago.nbd;

import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.ExportInfo;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.NbdProtocolException;
import dev.imago.nbd.wire.TransmissionFlags;
import org.jspecify.annotations.Nullable;

/**
 * What a client and a server have agreed on when the handshake is over.
 *
 * @param size of the export in bytes, a multiple of {@code minimum}
 * @param flags see {@link TransmissionFlags}; what needs something that was not agreed on is not in
 *     them
 * @param minimum offsets and lengths of requests are multiples of it: a power of two up to 64 KiB
 * @param preferred the length from which on requests cost no more than they must
 * @param maximum bytes of one READ or WRITE, a multiple of {@code minimum}, at most 32 MiB
 * @param structured whether READ is answered in chunks
 * @param allocation the id of {@code base:allocation}, or null without BLOCK_STATUS
 * @param description the server's text for people, may be empty
 */
record Agreed(
    long size,
    int flags,
    int minimum,
    int preferred,
    int maximum,
    boolean structured,
    @Nullable Integer allocation,
    String description) {

  /** Checks what the server said of an export against the protocol and itself. */
  static Agreed of(
      ExportInfo.Export export,
      ExportInfo.@Nullable BlockSize blocks,
      boolean structured,
      @Nullable Integer allocation,
      String description)
      throws NbdProtocolException {
    int flags = export.flags();
    if ((flags & TransmissionFlags.HAS_FLAGS) == 0) {
      throw new NbdProtocolException(
          "flags of an export: 0x%x; bit 0 must be set".formatted(flags));
    }
    if ((flags & TransmissionFlags.SEND_WRITE_ZEROES) == 0) {
      flags &= ~TransmissionFlags.SEND_FAST_ZERO;
    }
    int minimum = blocks == null ? 1 : (int) blocks.minimum();
    int preferred = blocks == null ? 4096 : (int) Math.min(blocks.preferred(), Limits.PAYLOAD);
    long maximum = blocks == null ? Limits.PAYLOAD : Math.min(blocks.maximum(), Limits.PAYLOAD);
    if (export.size() % minimum != 0) {
      throw new NbdProtocolException(
          "size of an export: %d bytes; a multiple of its minimum block, %d, is allowed"
              .formatted(export.size(), minimum));
    }
    return new Agreed(
        export.size(),
        flags,
        minimum,
        preferred,
        (int) maximum & -minimum,
        structured,
        allocation,
        description);
  }

  /** Whether all of these flags are set. */
  boolean has(int wanted) {
    return (flags & wanted) == wanted;
  }

  /** Whether a command is there to be used. */
  boolean offers(CommandType command) {
    return switch (command) {
      case READ, DISCONNECT -> true;
      case WRITE -> !has(TransmissionFlags.READ_ONLY);
      case FLUSH -> has(TransmissionFlags.SEND_FLUSH);
      case TRIM -> has(TransmissionFlags.SEND_TRIM);
      case CACHE -> has(TransmissionFlags.SEND_CACHE);
      case WRITE_ZEROES -> has(TransmissionFlags.SEND_WRITE_ZEROES);
      case BLOCK_STATUS -> allocation != null;
    };
  }

  /** Whether another connection to the same export may be used beside, or in place of, this one. */
  boolean sameAs(Agreed other) {
    return size == other.size
        && flags == other.flags
        && minimum == other.minimum
        && maximum == other.maximum
        && (allocation == null) == (other.allocation == null);
  }
}
