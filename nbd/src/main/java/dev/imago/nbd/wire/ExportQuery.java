package dev.imago.nbd.wire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The data of INFO and GO.
 *
 * @param name of the export; empty for the default one
 * @param infoTypes what the client would like to know, as numbers: see {@link ExportInfo}. A hint
 *     for all but {@link ExportInfo#BLOCK_SIZE}: who asks for block sizes will obey them
 */
public record ExportQuery(String name, List<Integer> infoTypes) {
  /** Keeps a copy. */
  public ExportQuery {
    infoTypes = List.copyOf(infoTypes);
  }

  /** Takes the option's data apart, all of it. */
  public static ExportQuery parse(ByteBuffer data) throws NbdProtocolException {
    String name = Text.counted(data, "export name");
    if (data.remaining() < 2) {
      throw new NbdProtocolException("number of information requests: missing");
    }
    int count = Short.toUnsignedInt(data.getShort());
    if (data.remaining() != count * 2) {
      throw new NbdProtocolException(
          "%d information requests: %d bytes follow, not %d"
              .formatted(count, data.remaining(), count * 2));
    }
    List<Integer> types = new ArrayList<>(count);
    for (int i = 0; i < count; i++) {
      types.add(Short.toUnsignedInt(data.getShort()));
    }
    return new ExportQuery(name, types);
  }

  /** Length on the wire. */
  public int bytes() {
    return 4 + Text.bytes(name) + 2 + infoTypes.size() * 2;
  }

  /** Writes {@link #bytes()} bytes. */
  public void write(ByteBuffer out) {
    Text.writeCounted(out, name);
    out.putShort((short) infoTypes.size());
    infoTypes.forEach(type -> out.putShort((short) (int) type));
  }
}
