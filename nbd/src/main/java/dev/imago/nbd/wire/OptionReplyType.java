package dev.imago.nbd.wire;

import org.jspecify.annotations.Nullable;

/** What a server can answer to an option. An option ends with {@link #ACK} or an error. */
public enum OptionReplyType {
  /** Done. */
  ACK(1),
  /** An export, in answer to LIST. */
  SERVER(2),
  /** A piece of information about an export. */
  INFO(3),
  /** A meta context. */
  META_CONTEXT(4),
  /** The option is not known or not done here. */
  ERR_UNSUP(0x80000001),
  /** Forbidden by the server's configuration. */
  ERR_POLICY(0x80000002),
  /** The option's data make no sense. */
  ERR_INVALID(0x80000003),
  /** This platform cannot do that. */
  ERR_PLATFORM(0x80000004),
  /** Only after STARTTLS. */
  ERR_TLS_REQD(0x80000005),
  /** There is no such export. */
  ERR_UNKNOWN(0x80000006),
  /** The server is about to end. */
  ERR_SHUTDOWN(0x80000007),
  /** The client must ask for block sizes and obey them. */
  ERR_BLOCK_SIZE_REQD(0x80000008),
  /** The request or its answer is too long. */
  ERR_TOO_BIG(0x80000009),
  /** Not after EXTENDED_HEADERS. */
  ERR_EXT_HEADER_REQD(0x8000000a);

  private final int code;

  OptionReplyType(int code) {
    this.code = code;
  }

  /** The number on the wire. */
  public int code() {
    return code;
  }

  /** Whether a reply of this number is an error, known or not. */
  public static boolean isError(int code) {
    return code < 0;
  }

  /** The type of this number, or null if it is not known. */
  public static @Nullable OptionReplyType of(int code) {
    for (OptionReplyType type : values()) {
      if (type.code == code) {
        return type;
      }
    }
    return null;
  }
}
