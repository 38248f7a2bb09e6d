package dev.imago.nbd.wire;

import java.io.IOException;

/**
 * The peer sent what the protocol does not allow. The message is this program's own: texts of the
 * peer in it have gone through {@link Text#printable}.
 */
public final class NbdProtocolException extends IOException {
  /** Says what was sent and what is allowed. */
  public NbdProtocolException(String message) {
    super(message);
  }
}
