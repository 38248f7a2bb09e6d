package dev.imago.qcow2;

import dev.imago.image.WritableRun;
import dev.imago.storage.Storage;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * Host space that a caller writes to by itself. While it is open it counts as a request under way,
 * and keeps its claim if new clusters are to be linked.
 */
final class Reservation implements WritableRun {
  private final Metadata metadata;
  private final ClusterWriter writer;
  private final int token;
  private final long guestOffset;
  private final long hostOffset;
  private final long length;
  private final @Nullable Place place;
  private final Claims.@Nullable Claim claim;
  private boolean open = true;
  private boolean committed;

  /** In place, if there is neither claim nor place. */
  Reservation(
      Metadata metadata,
      ClusterWriter writer,
      int token,
      long guestOffset,
      long hostOffset,
      long length,
      @Nullable Place place,
      Claims.@Nullable Claim claim) {
    this.metadata = metadata;
    this.writer = writer;
    this.token = token;
    this.guestOffset = guestOffset;
    this.hostOffset = hostOffset;
    this.length = length;
    this.place = place;
    this.claim = claim;
  }

  @Override
  public Storage storage() {
    return metadata.data;
  }

  @Override
  public long hostOffset() {
    return hostOffset;
  }

  @Override
  public long length() {
    return length;
  }

  @Override
  public synchronized void commit() throws IOException {
    if (!open || committed) {
      throw new IllegalStateException("the run was committed or closed before");
    }
    metadata.durability.dataWritten();
    if (place != null) {
      metadata.bitmaps.mark(guestOffset, length);
      writer.link(guestOffset, place);
    }
    committed = true;
  }

  @Override
  public synchronized void close() throws IOException {
    if (!open) {
      return;
    }
    open = false;
    try {
      if (!committed && place != null) {
        writer.abandon(place);
      }
    } finally {
      if (claim != null) {
        claim.close();
      }
      metadata.requests.leave(token);
    }
  }
}
