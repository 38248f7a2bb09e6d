package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The data of LIST_META_CONTEXT and SET_META_CONTEXT.
 *
 * @param export name of the export; empty for the default one
 * @param queries names of contexts or, to list them, namespaces. None at all: list everything, or
 *     select nothing
 */
public record ContextQuery(String export, List<String> queries) {
  /** Keeps a copy. */
  public ContextQuery {
    queries = List.copyOf(queries);
  }

  /** Takes the option's data apart, all of it. */
  public static ContextQuery parse(ByteBuffer data) throws NbdProtocolException {
    String export = Text.counted(data, "export name");
    if (data.remaining() < 4) {
      throw new NbdProtocolException("number of queries: missing");
    }
    long count = Integer.toUnsignedLong(data.getInt());
    if (count * 4 > data.remaining()) {
      throw new NbdProtocolException(
          "%d queries: only %d bytes follow".formatted(count, data.remaining()));
    }
    List<String> queries = new ArrayList<>((int) count);
    for (long i = 0; i < count; i++) {
      queries.add(Text.counted(data, "query"));
    }
    if (data.hasRemaining()) {
      throw new NbdProtocolException(data.remaining() + " bytes follow the last query");
    }
    return new ContextQuery(export, queries);
  }

  /** Length on the wire. */
  public int bytes() {
    return 8 + Text.bytes(export) + queries.stream().mapToInt(q -> 4 + Text.bytes(q)).sum();
  }

  /** Writes {@link #bytes()} bytes. */
  public void write(ByteBuffer out) {
    Text.writeCounted(out, export);
    out.putInt(queries.size());
    queries.forEach(query -> Text.writeCounted(out, query));
  }
}
