package dev.imago.nbd.wire;

import org.jspecify.annotations.Nullable;

/** What a client can ask for during the handshake. */
public enum OptionType {
  /** Uses an export, the old way: success has no option reply, failure no text. */
  EXPORT_NAME(1),
  /** Ends the handshake and the connection. */
  ABORT(2),
  /** Names of all exports. */
  LIST(3),
  /** Goes on encrypted; all that was agreed is forgotten. */
  STARTTLS(5),
  /** Tells about an export. */
  INFO(6),
  /** Uses an export. */
  GO(7),
  /** From now on READ is answered in chunks. */
  STRUCTURED_REPLY(8),
  /** Which meta contexts an export has. */
  LIST_META_CONTEXT(9),
  /** Which meta contexts BLOCK_STATUS shall tell about. */
  SET_META_CONTEXT(10),
  /** From now on requests and replies have 32-byte headers. */
  EXTENDED_HEADERS(11);

  private final int code;

  OptionType(int code) {
    this.code = code;
  }

  /** The number on the wire. */
  public int code() {
    return code;
  }

  /** The option of this number, or null if it is not known. */
  public static @Nullable OptionType of(int code) {
    for (OptionType type : values()) {
      if (type.code == code) {
        return type;
      }
    }
    return null;
  }
}
