package dev.imago.nbd.wire;

/** The magic numbers that messages begin with. */
public final class Magic {
  /** {@code NBDMAGIC}: the first eight bytes that a server sends. */
  public static final long NBD = 0x4e42444d41474943L;

  /** {@code IHAVEOPT}: the greeting's second half, and the begin of every option. */
  public static final long OPTION = 0x49484156454F5054L;

  /** Begins the reply to an option. */
  public static final long OPTION_REPLY = 0x0003e889045565a9L;

  /** Begins a compact request. */
  public static final int REQUEST = 0x25609513;

  /** Begins a simple reply. */
  public static final int SIMPLE_REPLY = 0x67446698;

  /** Begins a chunk of a structured reply. */
  public static final int STRUCTURED_REPLY = 0x668e33ef;

  /** Begins an extended request. */
  public static final int EXTENDED_REQUEST = 0x21e41c71;

  /** Begins a chunk of an extended reply. */
  public static final int EXTENDED_REPLY = 0x6e8a278c;

  private Magic() {}

  static void require(long expected, long found, String what) throws NbdProtocolException {
    if (found != expected) {
      throw new NbdProtocolException(
          "%s: the magic number is 0x%x, not 0x%x".formatted(what, found, expected));
    }
  }
}
