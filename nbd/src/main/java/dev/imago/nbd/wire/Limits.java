package dev.imago.nbd.wire;

/** What both sides hold each other to. */
public final class Limits {
  /** The port that NBD has from IANA. */
  public static final int PORT = 10809;

  /** A name, description, query or message is at most this long, in bytes of UTF-8. */
  public static final int STRING = 4096;

  /** Data of one READ or WRITE, in bytes: what every server has to take, 32 MiB. */
  public static final int PAYLOAD = 32 << 20;

  /** Extents of one BLOCK_STATUS chunk. */
  public static final int EXTENTS = 1 << 20;

  private Limits() {}
}
