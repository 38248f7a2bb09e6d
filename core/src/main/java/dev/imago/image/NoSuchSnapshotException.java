package dev.imago.image;

import java.io.IOException;

/** An image keeps no snapshot of this id or name. */
public final class NoSuchSnapshotException extends IOException {
  private static final long serialVersionUID = 1L;

  private final String snapshot;

  /** Neither an id nor a name is {@code snapshot}. */
  public NoSuchSnapshotException(String image, String snapshot) {
    super(image + ": there is no snapshot '" + snapshot + "'");
    this.snapshot = snapshot;
  }

  /** What was looked for. */
  public String snapshot() {
    return snapshot;
  }
}
