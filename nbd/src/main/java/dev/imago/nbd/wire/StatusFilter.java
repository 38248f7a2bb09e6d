package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The payload of an extended BLOCK_STATUS request that asks for some of the chosen contexts only.
 *
 * @param length what the request is about, in bytes; above 2^63 - 1 it is negative here
 * @param contexts their ids
 */
public record StatusFilter(long length, List<Integer> contexts) {
  /** Keeps a copy. */
  public StatusFilter {
    contexts = List.copyOf(contexts);
  }

  /** Takes the payload apart, all of it. */
  public static StatusFilter parse(ByteBuffer payload) throws NbdProtocolException {
    if (payload.remaining() < 8 || payload.remaining() % 4 != 0) {
      throw new NbdProtocolException(
          "payload of a block status request: %d bytes; 8 and 4 for each context are allowed"
              .formatted(payload.remaining()));
    }
    long length = payload.getLong();
    List<Integer> contexts = new ArrayList<>(payload.remaining() / 4);
    while (payload.hasRemaining()) {
      contexts.add(payload.getInt());
    }
    return new StatusFilter(length, contexts);
  }

  /** Length on the wire. */
  public int bytes() {
    return bytes(contexts.size());
  }

  /** Length on the wire of one with so many contexts. */
  public static int bytes(int contexts) {
    return 8 + 4 * contexts;
  }

  /** Writes {@link #bytes()} bytes. */
  public void write(ByteBuffer out) {
    out.putLong(length);
    contexts.forEach(out::putInt);
  }
}
