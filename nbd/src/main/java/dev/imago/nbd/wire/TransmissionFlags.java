package dev.imago.nbd.wire;

/** Bits that say what an export can do. */
public final class TransmissionFlags {
  /** Always set. */
  public static final int HAS_FLAGS = 1;

  /** Every command that would change something is refused. */
  public static final int READ_ONLY = 1 << 1;

  /** FLUSH is there. */
  public static final int SEND_FLUSH = 1 << 2;

  /** The flag FUA is there, for any command. */
  public static final int SEND_FUA = 1 << 3;

  /** The medium turns. */
  public static final int ROTATIONAL = 1 << 4;

  /** TRIM is there. */
  public static final int SEND_TRIM = 1 << 5;

  /** WRITE_ZEROES is there. */
  public static final int SEND_WRITE_ZEROES = 1 << 6;

  /** The flag DF is there for READ. */
  public static final int SEND_DF = 1 << 7;

  /** A flush on one connection is good for what was answered on all. */
  public static final int CAN_MULTI_CONN = 1 << 8;

  /** CACHE is there. */
  public static final int SEND_CACHE = 1 << 10;

  /** The flag FAST_ZERO is there for WRITE_ZEROES. */
  public static final int SEND_FAST_ZERO = 1 << 11;

  /** BLOCK_STATUS takes the ids of the contexts that it shall tell about. */
  public static final int BLOCK_STATUS_PAYLOAD = 1 << 12;

  private TransmissionFlags() {}
}
