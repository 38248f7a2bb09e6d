package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** The payload of a chunk of a structured or extended reply. */
public sealed interface Chunk {
  /** Numbers of the kinds on the wire. */
  int NONE = 0,
      OFFSET_DATA = 1,
      OFFSET_HOLE = 2,
      BLOCK_STATUS = 5,
      BLOCK_STATUS_EXT = 6,
      ERROR = 0x8001,
      ERROR_OFFSET = 0x8002;

  /** Nothing: all is done. */
  record None() implements Chunk {}

  /**
   * Data of a READ.
   *
   * @param offset in the export, not negative
   * @param content at least one byte; a view of what was parsed
   */
  record Data(long offset, ByteBuffer content) implements Chunk {}

  /**
   * Zeroes of a READ.
   *
   * @param offset in the export, not negative
   * @param length at least 1
   */
  record Hole(long offset, long length) implements Chunk {}

  /**
   * What one context says.
   *
   * @param context its id
   * @param extents at least one; the first begins at the request's offset
   * @param wide whether lengths and flags have 64 bits
   */
  record Status(int context, List<StatusExtent> extents, boolean wide) implements Chunk {
    /** Keeps a copy. */
    public Status {
      extents = List.copyOf(extents);
    }
  }

  /**
   * The request, or a part of it, failed.
   *
   * @param error see {@link NbdError}
   * @param message for people, may be empty
   * @param offset where, or -1 if that was not said
   */
  record Failed(int error, String message, long offset) implements Chunk {}

  /**
   * A kind that is not known here. If {@link #isError}, the request failed; else it is a mistake.
   */
  record Other(int type) implements Chunk {}

  /** Whether a chunk of this type means that the request failed, whether known or not. */
  static boolean isError(int type) {
    return (type & 0x8000) != 0;
  }

  /** Takes a payload apart, all of it. */
  static Chunk parse(int type, ByteBuffer payload) throws NbdProtocolException {
    return switch (type) {
      case NONE -> {
        if (payload.hasRemaining()) {
          throw new NbdProtocolException("empty chunk: has " + payload.remaining() + " bytes");
        }
        yield new None();
      }
      case OFFSET_DATA -> {
        requireAtLeast(payload, 9, "data chunk");
        yield new Data(offset(payload, "data chunk"), payload.slice());
      }
      case OFFSET_HOLE -> {
        requireExactly(payload, 12, "hole chunk");
        long offset = offset(payload, "hole chunk");
        long length = Integer.toUnsignedLong(payload.getInt());
        if (length == 0) {
          throw new NbdProtocolException("hole chunk: its length is 0");
        }
        yield new Hole(offset, length);
      }
      case BLOCK_STATUS -> status(payload);
      case BLOCK_STATUS_EXT -> wideStatus(payload);
      case ERROR -> failed(payload, false);
      case ERROR_OFFSET -> failed(payload, true);
      default -> new Other(type);
    };
  }

  private static long offset(ByteBuffer payload, String what) throws NbdProtocolException {
    long offset = payload.getLong();
    if (offset < 0) {
      throw new NbdProtocolException(
          "%s: its offset is %s; at most 2^63 - 1 is allowed"
              .formatted(what, Long.toUnsignedString(offset)));
    }
    return offset;
  }

  private static Status status(ByteBuffer payload) throws NbdProtocolException {
    requireAtLeast(payload, 12, "block status");
    int context = payload.getInt();
    if (payload.remaining() % 8 != 0) {
      throw new NbdProtocolException(
          "block status: %d bytes of extents are no multiple of 8".formatted(payload.remaining()));
    }
    List<StatusExtent> extents = new ArrayList<>(payload.remaining() / 8);
    while (payload.hasRemaining()) {
      long length = Integer.toUnsignedLong(payload.getInt());
      extents.add(extent(length, Integer.toUnsignedLong(payload.getInt())));
    }
    return new Status(context, extents, false);
  }

  private static Status wideStatus(ByteBuffer payload) throws NbdProtocolException {
    requireAtLeast(payload, 24, "extended block status");
    int context = payload.getInt();
    long count = Integer.toUnsignedLong(payload.getInt());
    if (payload.remaining() % 16 != 0 || count != 0 && count != payload.remaining() / 16) {
      throw new NbdProtocolException(
          "extended block status: %d extents in %d bytes".formatted(count, payload.remaining()));
    }
    List<StatusExtent> extents = new ArrayList<>(payload.remaining() / 16);
    while (payload.hasRemaining()) {
      long length = payload.getLong();
      extents.add(extent(length, payload.getLong()));
    }
    return new Status(context, extents, true);
  }

  private static StatusExtent extent(long length, long flags) throws NbdProtocolException {
    if (length <= 0) {
      throw new NbdProtocolException(
          "block status: an extent of %s bytes; 1 to 2^63 - 1 are allowed"
              .formatted(Long.toUnsignedString(length)));
    }
    return new StatusExtent(length, flags);
  }

  private static Failed failed(ByteBuffer payload, boolean withOffset) throws NbdProtocolException {
    int fixed = withOffset ? 14 : 6;
    requireAtLeast(payload, fixed, "error chunk");
    int error = payload.getInt();
    int length = Short.toUnsignedInt(payload.getShort());
    requireExactly(payload, length + fixed - 6, "error chunk");
    String message = Text.read(payload, length, "message of an error chunk");
    return new Failed(error, message, withOffset ? offset(payload, "error chunk") : -1);
  }

  private static void requireAtLeast(ByteBuffer payload, int length, String what)
      throws NbdProtocolException {
    if (payload.remaining() < length) {
      throw new NbdProtocolException(
          "%s: %d bytes; at least %d are needed".formatted(what, payload.remaining(), length));
    }
  }

  private static void requireExactly(ByteBuffer payload, int length, String what)
      throws NbdProtocolException {
    if (payload.remaining() != length) {
      throw new NbdProtocolException(
          "%s: %d bytes, not %d".formatted(what, payload.remaining(), length));
    }
  }

  /** The number on the wire. */
  default int type() {
    return switch (this) {
      case None _ -> NONE;
      case Data _ -> OFFSET_DATA;
      case Hole _ -> OFFSET_HOLE;
      case Status s -> s.wide() ? BLOCK_STATUS_EXT : BLOCK_STATUS;
      case Failed f -> f.offset() < 0 ? ERROR : ERROR_OFFSET;
      case Other o -> o.type();
    };
  }

  /** Length on the wire. */
  default int bytes() {
    return switch (this) {
      case None _, Other _ -> 0;
      case Data d -> 8 + d.content().remaining();
      case Hole _ -> 12;
      case Status s -> s.wide() ? 8 + 16 * s.extents().size() : 4 + 8 * s.extents().size();
      case Failed f -> 6 + Text.bytes(f.message()) + (f.offset() < 0 ? 0 : 8);
    };
  }

  /** Writes {@link #bytes()} bytes. */
  default void write(ByteBuffer out) {
    switch (this) {
      case None _, Other _ -> {}
      case Data d -> out.putLong(d.offset()).put(d.content().duplicate());
      case Hole h -> out.putLong(h.offset()).putInt((int) h.length());
      case Status s -> writeStatus(out, s);
      case Failed f -> {
        out.putInt(f.error()).putShort((short) Text.bytes(f.message()));
        Text.write(out, f.message());
        if (f.offset() >= 0) {
          out.putLong(f.offset());
        }
      }
    }
  }

  private static void writeStatus(ByteBuffer out, Status status) {
    out.putInt(status.context());
    if (status.wide()) {
      out.putInt(status.extents().size());
    }
    for (StatusExtent extent : status.extents()) {
      if (status.wide()) {
        out.putLong(extent.length()).putLong(extent.flags());
      } else {
        out.putInt((int) extent.length()).putInt((int) extent.flags());
      }
    }
  }
}
