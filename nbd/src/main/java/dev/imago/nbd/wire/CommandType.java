package dev.imago.nbd.wire;

import org.jspecify.annotations.Nullable;

/** What a client can ask for once it uses an export. */
public enum CommandType {
  /** Bytes of the disk. */
  READ(0, CommandType.DF),
  /** New bytes for the disk, which follow the request. */
  WRITE(1, CommandType.FUA),
  /** The client goes. Has no reply. */
  DISCONNECT(2, 0),
  /** All that was answered survives a power cut. */
  FLUSH(3, 0),
  /** The range is not needed any more. */
  TRIM(4, CommandType.FUA),
  /** The range will be read soon. */
  CACHE(5, 0),
  /** The range reads as zero. */
  WRITE_ZEROES(6, CommandType.FUA | CommandType.NO_HOLE | CommandType.FAST_ZERO),
  /** What the chosen meta contexts say of the range. */
  BLOCK_STATUS(7, CommandType.REQ_ONE);

  /** Flag: durable before it is answered. Allowed, and without meaning, where nothing changes. */
  public static final int FUA = 1;

  /** Flag of WRITE_ZEROES: keeps host space for the range. */
  public static final int NO_HOLE = 1 << 1;

  /** Flag of READ: one chunk of content at most. */
  public static final int DF = 1 << 2;

  /** Flag of BLOCK_STATUS: one extent of each context. */
  public static final int REQ_ONE = 1 << 3;

  /** Flag of WRITE_ZEROES: fails at once if it would be no faster than WRITE. */
  public static final int FAST_ZERO = 1 << 4;

  /** Flag of extended requests: the length is that of the payload which follows. */
  public static final int PAYLOAD_LEN = 1 << 5;

  private static final CommandType[] BY_CODE = values();

  private final int code;
  private final int flags;

  CommandType(int code, int flags) {
    this.code = code;
    this.flags = flags;
  }

  /** The number on the wire. */
  public int code() {
    return code;
  }

  /** Whether these flags, {@link #PAYLOAD_LEN} aside, are all allowed with this command. */
  public boolean allows(int commandFlags) {
    return (commandFlags & ~(flags | FUA | PAYLOAD_LEN)) == 0;
  }

  /** The command of this number, or null if it is not known. */
  public static @Nullable CommandType of(int code) {
    return code >= 0 && code < BY_CODE.length ? BY_CODE[code] : null;
  }
}
