package dev.imago.cli;

import dev.imago.Images;
import dev.imago.image.LuksInfo;
import dev.imago.qcow2.Qcow2Info;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What {@code info} tells of one image.
 *
 * @param name the file's name, that of an NBD export, or what QEMU calls its block drivers
 * @param place the name of the file or export in which the image lies, whatever stands between:
 *     what it names is looked for beside that
 * @param format the format's name
 * @param fileLength in bytes
 * @param allocatedBytes host space in use, or -1 if that is not known
 * @param clusterBytes the unit of what is below a filter, or 0
 * @param flagged whether it can be told that it is not dirty
 * @param qcow2 what a qcow2 image says of itself, or null for a raw one
 */
record ImageInfo(
    String name,
    String place,
    String format,
    long fileLength,
    long allocatedBytes,
    long clusterBytes,
    boolean flagged,
    @Nullable Qcow2Info qcow2) {

  /** What a file is. */
  ImageInfo(
      String name, String format, long fileLength, long allocatedBytes, @Nullable Qcow2Info qcow2) {
    this(
        name,
        name,
        format,
        fileLength,
        allocatedBytes,
        qcow2 == null ? 0 : qcow2.clusterSize(),
        true,
        qcow2);
  }

  /** Size of the disk: whole sectors. */
  long virtualSize() {
    return qcow2 != null ? qcow2.size() : (fileLength + 511) & -512;
  }

  @Nullable String backingFormat() {
    return qcow2 == null ? null : qcow2.backingFormat();
  }

  /** The backing file's name as this program would open it, or null. */
  @Nullable String fullBackingFile() {
    String backing = qcow2 == null ? null : qcow2.backingFile();
    if (backing == null
        || backing.isEmpty()
        || !FileName.protocol(backing).isEmpty()
        || Exports.isOne(place)) {
      return backing == null || backing.isEmpty() ? null : backing;
    }
    return Images.resolveName(Path.of(place), backing).toString();
  }

  void appendHuman(StringBuilder text) {
    text.append("image: ").append(name).append("\nfile format: ").append(format);
    text.append("\nvirtual size: ");
    HumanSize.append(text, virtualSize());
    text.append(" (").append(virtualSize()).append(" bytes)\ndisk size: ");
    if (allocatedBytes < 0) {
      text.append("unavailable");
    } else {
      HumanSize.append(text, allocatedBytes);
    }
    text.append('\n');
    Qcow2Info q = qcow2;
    if (q == null) {
      if (clusterBytes > 0) {
        text.append("cluster_size: ").append(clusterBytes).append('\n');
      }
      return;
    }
    if (q.encryption() != null) {
      text.append("encrypted: yes\n");
    }
    text.append("cluster_size: ").append(q.clusterSize()).append('\n');
    if (q.dirty()) {
      text.append("cleanly shut down: no\n");
    }
    String full = fullBackingFile();
    if (full != null) {
      text.append("backing file: ").append(q.backingFile());
      if (!full.equals(q.backingFile())) {
        text.append(" (actual path: ").append(full).append(')');
      }
      text.append('\n');
      if (q.backingFormat() != null) {
        text.append("backing file format: ").append(q.backingFormat()).append('\n');
      }
    }
    if (!q.snapshots().isEmpty()) {
      SnapshotList.appendHuman(text, q.snapshots());
    }
    text.append("Format specific information:\n");
    appendHuman(text, details(q), 1);
  }

  private static void appendHuman(StringBuilder text, Dict dict, int depth) {
    for (int i = 0; i < dict.size(); i++) {
      indent(text, depth);
      text.append(dict.key(i).replace('-', ' ')).append(':');
      appendValue(text, dict.value(i), depth);
    }
  }

  private static void appendValue(StringBuilder text, Object value, int depth) {
    if (value instanceof Dict dict) {
      text.append('\n');
      appendHuman(text, dict, depth + 1);
    } else if (value instanceof List<?> list) {
      text.append('\n');
      for (int i = 0; i < list.size(); i++) {
        indent(text, depth + 1);
        text.append('[').append(i).append("]:");
        appendValue(text, list.get(i), depth + 1);
      }
    } else {
      text.append(' ').append(value).append('\n');
    }
  }

  private static void indent(StringBuilder text, int depth) {
    for (int i = 0; i < depth; i++) {
      text.append("    ");
    }
  }

  Dict toDict() {
    Dict dict = new Dict();
    dict.put("filename", name);
    dict.put("format", format);
    dict.put("virtual-size", virtualSize());
    if (allocatedBytes >= 0) {
      dict.put("actual-size", allocatedBytes);
    }
    Qcow2Info q = qcow2;
    if (flagged) {
      dict.put("dirty-flag", q != null && q.dirty());
    }
    if (clusterBytes > 0) {
      dict.put("cluster-size", clusterBytes);
    }
    if (q == null) {
      return dict;
    }
    if (q.encryption() != null) {
      dict.put("encrypted", true);
    }
    String backing = q.backingFile();
    String full = fullBackingFile();
    if (backing != null && full != null) {
      dict.put("backing-filename", backing);
      dict.put("full-backing-filename", full);
      if (q.backingFormat() != null) {
        dict.put("backing-filename-format", q.backingFormat());
      }
    }
    if (!q.snapshots().isEmpty()) {
      dict.put("snapshots", SnapshotList.toDicts(q.snapshots()));
    }
    dict.put("format-specific", new Dict().put("type", "qcow2").put("data", details(q)));
    return dict;
  }

  /** What only qcow2 images have, indented as {@code info} prints it. */
  static String detailsForPeople(Qcow2Info q) {
    StringBuilder text = new StringBuilder();
    appendHuman(text, details(q), 1);
    return text.toString();
  }

  /** What only qcow2 images have. */
  private static Dict details(Qcow2Info q) {
    Dict dict = new Dict();
    dict.put("compat", q.version() < 3 ? "0.10" : "1.1");
    dict.put("compression-type", q.compressionType());
    dict.put("refcount-bits", q.refcountBits());
    if (q.encryption() != null) {
      dict.put("encrypt", encryption(q.encryption(), q.luks()));
    }
    if (q.version() < 3) {
      return dict;
    }
    dict.put("lazy-refcounts", q.lazyRefcounts());
    dict.put("corrupt", q.corrupt());
    dict.put("extended-l2", q.extendedL2());
    if (!q.bitmaps().isEmpty()) {
      dict.put("bitmaps", bitmaps(q.bitmaps()));
    }
    if (q.externalData()) {
      dict.put("data-file-raw", q.dataFileRaw());
      if (q.dataFile() != null) {
        dict.put("data-file", q.dataFile());
      }
    }
    return dict;
  }

  private static Dict encryption(String format, @Nullable LuksInfo luks) {
    Dict dict = new Dict().put("format", format);
    if (luks == null) {
      return dict;
    }
    dict.put("ivgen-alg", luks.ivGenerator());
    if (luks.ivHash() != null) {
      dict.put("ivgen-hash-alg", luks.ivHash());
    }
    List<Dict> slots = new ArrayList<>();
    for (LuksInfo.Slot slot : luks.slots()) {
      Dict one = new Dict().put("active", slot.active());
      if (slot.active()) {
        one.put("iters", slot.iterations()).put("stripes", slot.stripes());
      }
      slots.add(one.put("key-offset", slot.keyOffset()));
    }
    return dict.put("hash-alg", luks.hash())
        .put("cipher-alg", luks.cipher())
        .put("cipher-mode", luks.mode())
        .put("uuid", luks.uuid())
        .put("slots", slots)
        .put("payload-offset", luks.payloadOffset())
        .put("master-key-iters", luks.masterKeyIterations());
  }

  private static List<Dict> bitmaps(List<Qcow2Info.Bitmap> bitmaps) {
    List<Dict> dicts = new ArrayList<>();
    for (Qcow2Info.Bitmap bitmap : bitmaps) {
      List<String> flags = new ArrayList<>();
      if (bitmap.inUse()) {
        flags.add("in-use");
      }
      if (bitmap.auto()) {
        flags.add("auto");
      }
      dicts.add(
          new Dict()
              .put("name", bitmap.name())
              .put("granularity", bitmap.granularity())
              .put("flags", flags));
    }
    return dicts;
  }
}
