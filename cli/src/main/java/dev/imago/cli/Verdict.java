package dev.imago.cli;

import dev.imago.Inspection;
import dev.imago.qcow2.Qcow2Info;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Whether an image from a stranger may be opened: what {@code inspect} says and {@code --safe} goes
 * by.
 *
 * @param reasons why not, the weightiest first; empty if it may
 * @param features what the image makes use of, for whoever has rules of his own
 * @param l1Bytes length of the table that maps the whole disk; 0 without one
 */
record Verdict(List<String> reasons, List<String> features, long l1Bytes) {
  /** The longest L1 table, in bytes: 256 TiB with clusters of 64 KiB. */
  static final long MAX_L1_BYTES = 4 << 20;

  static final int MAX_SNAPSHOTS = 256;
  static final int MAX_BITMAPS = 256;

  /**
   * Judges.
   *
   * @param format what the caller says the format is, or null if it was probed
   * @param looksLike formats that are not known here and that the file could be of
   */
  static Verdict of(Inspection found, @Nullable String format, List<String> looksLike) {
    List<String> reasons = new ArrayList<>();
    if (format == null && found.format().equals("raw")) {
      reasons.add(
          looksLike.isEmpty()
              ? "its format was not named and no known one matches, so that it would be raw"
              : "its format was not named; it looks like "
                  + looksLike.getFirst()
                  + ", not known here");
    }
    if (found.backingFile() != null) {
      reasons.add("it names the backing file '" + printable(found.backingFile()) + "'");
    }
    Qcow2Info qcow2 = found.qcow2();
    if (found.dataFile() != null) {
      reasons.add("it names the data file '" + printable(found.dataFile()) + "'");
    } else if (qcow2 != null && qcow2.externalData()) {
      reasons.add("its data is in another file, which it does not name");
    }
    if (found.corrupt()) {
      reasons.add("it is marked as corrupt");
    }
    long l1Bytes = qcow2 == null ? 0 : l1Bytes(qcow2);
    if (l1Bytes > MAX_L1_BYTES) {
      reasons.add("its L1 table has " + l1Bytes + " bytes, at most " + MAX_L1_BYTES + " are safe");
    }
    atMost(reasons, found.snapshots(), MAX_SNAPSHOTS, "snapshots");
    atMost(reasons, qcow2 == null ? 0 : qcow2.bitmaps().size(), MAX_BITMAPS, "bitmaps");
    return new Verdict(List.copyOf(reasons), qcow2 == null ? List.of() : features(qcow2), l1Bytes);
  }

  private static void atMost(List<String> reasons, int is, int most, String what) {
    if (is > most) {
      reasons.add("it has " + is + " " + what + ", at most " + most + " are safe");
    }
  }

  private static long l1Bytes(Qcow2Info info) {
    long entryBytes = info.extendedL2() ? 16 : 8;
    long covered = info.clusterSize() / entryBytes * info.clusterSize();
    long needed = (info.size() / covered + (info.size() % covered == 0 ? 0 : 1)) * 8;
    return Math.max(needed, info.l1Bytes());
  }

  private static List<String> features(Qcow2Info info) {
    List<String> features = new ArrayList<>();
    features.add(info.version() == 2 ? "compat-0.10" : "compat-1.1");
    add(features, info.compressionType().equals("zstd"), "zstd");
    add(features, info.extendedL2(), "extended-l2");
    add(features, info.lazyRefcounts(), "lazy-refcounts");
    add(features, info.externalData(), "external-data");
    add(features, info.dataFileRaw(), "data-file-raw");
    add(features, info.encryption() != null, "encryption");
    add(features, !info.snapshots().isEmpty(), "snapshots");
    add(features, !info.bitmaps().isEmpty(), "bitmaps");
    return features;
  }

  private static void add(List<String> features, boolean has, String name) {
    if (has) {
      features.add(name);
    }
  }

  /** A stranger's text on one line: nothing in it moves the cursor, or looks like our own lines. */
  static String printable(String text) {
    StringBuilder shown = new StringBuilder();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (Character.isISOControl(c) || Character.getType(c) == Character.FORMAT) {
        shown.append("\\u%04x".formatted((int) c));
      } else {
        shown.append(c);
      }
    }
    return shown.toString();
  }

  boolean accepted() {
    return reasons.isEmpty();
  }
}
