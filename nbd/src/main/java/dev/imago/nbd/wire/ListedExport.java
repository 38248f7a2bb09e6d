package dev.imago.nbd.wire;

import java.nio.ByteBuffer;

/**
 * The data of a SERVER reply: one export of a list.
 *
 * @param name of the export; empty for the default one
 * @param description a text for people, may be empty
 */
public record ListedExport(String name, String description) {
  /** Takes the reply's data apart, all of it. */
  public static ListedExport parse(ByteBuffer data) throws NbdProtocolException {
    String name = Text.counted(data, "export name");
    return new ListedExport(name, Text.rest(data, "description of an export"));
  }

  /** Length on the wire. */
  public int bytes() {
    return 4 + Text.bytes(name) + Text.bytes(description);
  }

  /** Writes {@link #bytes()} bytes. */
  public void write(ByteBuffer out) {
    Text.writeCounted(out, name);
    Text.write(out, description);
  }
}
