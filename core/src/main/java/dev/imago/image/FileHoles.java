package dev.imago.image;

import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.IdentityHashMap;

/**
 * Tells which data of an image's layers are holes of their files: clusters that were preallocated
 * and never written, which read as zero. What it finds out about a file it remembers: take a new
 * one for each walk through an image. For one thread.
 */
public final class FileHoles {
  /** For each file of a layer, whether much of it is holes. */
  private final IdentityHashMap<Storage, Boolean> sparse = new IdentityHashMap<>();

  /** Knows no file yet. */
  public FileHoles() {}

  /**
   * What the file has where a layer says that there is data, and how far that goes.
   *
   * @param layer whose data it is
   * @return not longer than {@code data}
   */
  public Storage.Run run(Image layer, Mapping.Data data) throws IOException {
    Storage file = data.storage();
    if (!mayBeHoles(layer, file)) {
      return new Storage.Run(true, data.length());
    }
    if (data.hostOffset() >= file.size()) {
      return new Storage.Run(false, data.length());
    }
    return file.run(data.hostOffset(), data.length());
  }

  /**
   * Whether clusters of this layer may be holes of its file: it was made with its metadata only. As
   * QEMU does, this is told by the file's size on the host, and not for each cluster, for otherwise
   * every half-written cluster would show as two runs.
   */
  private boolean mayBeHoles(Image layer, Storage file) throws IOException {
    if (layer.format().equals("raw") || !file.name().equals(layer.name())) {
      return false;
    }
    Boolean known = sparse.get(file);
    if (known == null) {
      long allocated = file.allocatedBytes();
      long unit = layer.clusterSize();
      long used = allocated / unit + 1;
      long clusters = file.size() / unit;
      known = allocated >= 0 && clusters > Math.max(used * 10 / 9, used + 2);
      sparse.put(file, known);
    }
    return known;
  }
}
