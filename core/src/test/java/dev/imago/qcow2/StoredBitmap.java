package dev.imago.qcow2;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/** A bitmap as it stands in a file, read by nothing of what is tested. */
record StoredBitmap(String name, int flags, int granularityBits, BitSet bits) {

  boolean inUse() {
    return (flags & 1) != 0;
  }

  boolean auto() {
    return (flags & 2) != 0;
  }

  /** Whether the granule of a guest offset is dirty. */
  boolean dirty(long guestOffset) {
    return bits.get((int) (guestOffset >>> granularityBits));
  }

  /**
   * All bitmaps of an image; none if the autoclear bit is not set. Stale ones come without bits.
   */
  static List<StoredBitmap> read(Path image) throws IOException {
    ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(image));
    List<StoredBitmap> found = new ArrayList<>();
    int clusterSize = 1 << file.getInt(20);
    if (file.getInt(4) < 3 || (file.getLong(88) & 1) == 0) {
      return found;
    }
    int at = file.getInt(100);
    while (file.getInt(at) != 0x23852875) {
      if (file.getInt(at) == 0) {
        throw new AssertionError("the bitmaps bit is set without the extension");
      }
      at += 8 + (file.getInt(at + 4) + 7 & ~7);
    }
    int count = file.getInt(at + 8);
    int entry = (int) file.getLong(at + 24);
    for (int i = 0; i < count; i++) {
      int table = (int) file.getLong(entry);
      int flags = file.getInt(entry + 12);
      int granularityBits = file.get(entry + 17);
      int nameAt = entry + 24 + file.getInt(entry + 20);
      int nameLength = file.getShort(entry + 18);
      String name =
          new String(
              Arrays.copyOfRange(file.array(), nameAt, nameAt + nameLength),
              StandardCharsets.UTF_8);
      BitSet bits = new BitSet();
      for (int j = 0; (flags & 1) == 0 && j < file.getInt(entry + 8); j++) {
        long word = file.getLong(table + 8 * j);
        int firstBit = j * clusterSize * 8;
        if (word == 1) {
          bits.set(firstBit, firstBit + clusterSize * 8);
        } else if (word != 0) {
          byte[] cluster = Arrays.copyOfRange(file.array(), (int) word, (int) word + clusterSize);
          BitSet.valueOf(cluster).stream().forEach(bit -> bits.set(firstBit + bit));
        }
      }
      long granules = (file.getLong(24) + (1L << granularityBits) - 1) >>> granularityBits;
      bits.clear((int) granules, Math.max((int) granules, bits.length()));
      found.add(new StoredBitmap(name, flags, granularityBits, bits));
      entry = nameAt + nameLength + 7 & ~7;
    }
    return found;
  }
}
