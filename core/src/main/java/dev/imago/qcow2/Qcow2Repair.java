package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import dev.imago.image.ImageException;
import dev.imago.image.Progress;
import dev.imago.image.RepairMode;
import dev.imago.image.RepairResult;
import dev.imago.qcow2.ondisk.Header;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Repairs an image that nobody has open: entries first, then counts, flags, clusters that two guest
 * clusters share, the snapshot table, and at last the feature bits.
 *
 * <p>What is new is written and made durable before anything leads to it; counts are raised before
 * flags follow them, and lowered last. A crash or a failure at any time leaves an image that is no
 * worse than before and that the next repair makes whole. What nothing is known about is left as it
 * is: neither is a table changed that shares its cluster with something else, nor are counts
 * lowered when not all references could be followed.
 *
 * <p>Spec: qcow2 digest, section 14.
 */
final class Qcow2Repair {
  private static final int PASSES = 4;

  /**
   * What one copy uncovers, the next time copies: an L1 table first, then L2 tables, then what they
   * lead to. Ten thousand shared clusters at a time.
   */
  private static final int ROUNDS = 16;

  /** Width of refcounts, as a power of two, that are made anew because they were too narrow. */
  private static final int USUAL_ORDER = 4;

  private final Storage storage;
  private final RepairMode mode;
  private final Progress progress;
  private final List<String> lines = new ArrayList<>();
  private long leaksFixed;
  private long corruptionsFixed;
  private int pass;
  private boolean refused;

  /** Whether there are references that could not be seen, so that counts cannot be judged. */
  private boolean blind;

  /** Whether clusters may be shared that should not be. */
  private boolean sharing;

  /** Whether what is shared is not what it was when that was looked for. */
  private boolean outdated;

  /** Whether something was begun, and may have been written, that could not be ended. */
  private boolean unsure;

  /** Host offsets of L2 tables that are copies of what did not look like a table. */
  private final Set<Long> copies = new HashSet<>();

  /** What was behind the end of the file until that was made longer. */
  private final List<RepairResult.Lost> lost = new ArrayList<>();

  private final Findings bitmapLines = new Findings();
  private final StaleBitmaps bitmaps;

  private Qcow2Repair(Storage storage, RepairMode mode, Progress progress) {
    this.storage = storage;
    this.mode = mode;
    this.progress = progress;
    this.bitmaps = new StaleBitmaps(storage, bitmapLines);
  }

  /** See {@link Qcow2#repair}. */
  static RepairResult run(Storage storage, RepairMode mode, Progress progress) throws IOException {
    return new Qcow2Repair(storage, mode, progress).run();
  }

  private RepairResult run() throws IOException {
    CheckResult left = round();
    if (!refused && !blind && mode == RepairMode.ALL) {
      for (int i = 0; i < ROUNDS && !blind; i++) {
        boolean copied = !outdated && separate();
        if (!copied && !outdated) {
          break;
        }
        long leaks = leaksFixed;
        left = round();
        if (copied) {
          // What was copied has left its old places, which is no finding.
          leaksFixed = leaks;
        }
      }
      completeSnapshotTable();
    }
    add(bitmapLines.lines());
    if (!refused && (unsure || leaksFixed + corruptionsFixed > 0)) {
      left = Qcow2Checker.check(storage, nextPass());
    }
    if (!refused && left.corruptions() == 0 && left.checkErrors() == 0) {
      clearFeatureBits();
    }
    progress.at(PASSES, PASSES);
    return new RepairResult(
        lines, leaksFixed, corruptionsFixed, refused, left, refused ? List.of() : lost(left));
  }

  /** Makes counts and flags agree with what is there. */
  private CheckResult round() throws IOException {
    Findings findings = new Findings();
    CheckResult result = round(findings, mode == RepairMode.ALL);
    if (result == null) {
      // Entries were repaired: what is there now is another image.
      Findings again = new Findings();
      findings.lines().forEach(line -> again.note("%s", line));
      result = round(again, false);
      findings = again;
    }
    add(findings.lines());
    if (result == null) {
      throw new IllegalStateException("entries were repaired twice");
    }
    return result;
  }

  private void add(List<String> more) {
    lines.addAll(more.subList(0, Math.min(more.size(), CheckResult.MAX_FINDINGS - lines.size())));
  }

  /**
   * One round.
   *
   * @return null, with the entries' repairs as findings, if entries were repaired and nothing else
   */
  private @Nullable CheckResult round(Findings findings, boolean entries) throws IOException {
    long fileSize = storage.size();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      Qcow2Checker checker =
          new Qcow2Checker(storage, reader, fileSize, findings, mode == RepairMode.ALL, nextPass());
      if (!checker.count() || findings.errors() > 0 || checker.walk().incomplete()) {
        blind = true;
        return checker.result();
      }
      outdated = false;
      Header header = checker.cluster().header();
      Set<Long> shared = checker.overlaps();
      if (entries && findings.corruptions() > 0) {
        Findings repairs = new Findings();
        var repair =
            new EntryRepair(
                storage, header, reader, checker.walk(), shared, copies, bitmaps, repairs);
        boolean repaired = repair.run();
        sharing |= repair.masked();
        if (repaired) {
          corruptionsFixed += repairs.fixed();
          findings.replaceBy(repairs);
          return null;
        }
      }
      long before = findings.corruptions() - checker.structureCorruptions();
      checker.compare(false);
      boolean recounted = findings.corruptions() > before;
      sharing |= !shared.isEmpty() || (recounted && checker.walk().counts().shared());
      if (checker.needsRebuild() || unusable(checker)) {
        if (mode == RepairMode.LEAKS) {
          findings.note("ERROR need to rebuild refcount structures");
          refused = true;
          return checker.result();
        }
        if (grow(checker, reader, fileSize)) {
          return checker.result();
        }
        findings.note("Rebuilding refcount structure");
        // A device does not grow: there the new ones go behind what is used, the old ones included.
        var walk = checker.walk();
        long start = storage.fixedSize() ? walk.counts().end() : walk.clusters();
        checker.forgetRefcountStructures();
        new RefcountRebuild(
                storage,
                header,
                refcountOrder(checker, header, findings),
                checker.walk().counts(),
                start)
            .run();
        leaksFixed += findings.leaks();
        corruptionsFixed += Math.max(1, findings.corruptions() - before);
        outdated = !shared.isEmpty();
        repairFlags(checker, header, reader, shared, findings);
      } else {
        var counts =
            new CountRepair(storage, header.geometry(), checker, findings, mode == RepairMode.ALL);
        if (findings.leaks() + findings.corruptions() - before > 0) {
          counts.raise();
        }
        repairFlags(checker, header, reader, shared, findings);
        counts.lower();
        leaksFixed += counts.leaksFixed();
        corruptionsFixed += counts.corruptionsFixed();
      }
      return checker.result();
    }
  }

  /** Whether counts have to be made anew that could be set right one by one. */
  private boolean unusable(Qcow2Checker checker) {
    boolean widen = checker.largestOverflow() > 0 && checker.cluster().header().version() >= 3;
    return mode == RepairMode.ALL && (widen || checker.refcountTableShared());
  }

  /** How wide counts must be; version 2 knows one width only. */
  private static int refcountOrder(Qcow2Checker checker, Header header, Findings findings) {
    int order = header.refcountOrder();
    if (checker.largestOverflow() > 0 && header.version() >= 3) {
      order = checker.largestOverflow() >>> (1 << USUAL_ORDER) == 0 ? USUAL_ORDER : USUAL_ORDER + 1;
      findings.note(
          "Repairing refcounts of %d bits: %d references need more, %d bits are used now",
          1 << header.refcountOrder(), checker.largestOverflow(), 1 << order);
    }
    return order;
  }

  private void repairFlags(
      Qcow2Checker checker, Header header, TableReader reader, Set<Long> shared, Findings findings)
      throws IOException {
    if (checker.walk().allFlagged() && !findings.any()) {
      return;
    }
    boolean may = mode == RepairMode.ALL || findings.corruptions() + findings.errors() == 0;
    boolean known = shared.size() < Findings.MAX_OVERLAPS;
    new CopiedCheck(
            storage,
            header,
            reader,
            checker.walk().counts(),
            findings,
            shared,
            copies,
            may && known)
        .run(checker.walk().l2Tables(), () -> {});
    if (findings.fixed() > 0) {
      storage.flush();
      corruptionsFixed += findings.fixed();
    }
  }

  /**
   * Ends the sharing of clusters that only damage can have brought about.
   *
   * @return whether anything was copied
   */
  private boolean separate() throws IOException {
    if (!sharing) {
      return false;
    }
    sharing = false;
    long fileSize = storage.size();
    Findings silent = new Findings();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      var checker = new Qcow2Checker(storage, reader, fileSize, silent, true, nextPass());
      Header header = checker.cluster().header();
      if (!checker.count()) {
        return false;
      }
      if (grow(checker, reader, fileSize)) {
        return true;
      }
      Metadata metadata;
      try {
        metadata = OpenParts.openForRepair(storage);
      } catch (ImageException e) {
        // What is wrong is told by the check that follows.
        return false;
      }
      Findings findings = new Findings();
      Set<Long> shared = checker.overlaps();
      var relocation =
          new Relocation(
              metadata, checker.cluster(), checker.walk(), shared, reader, bitmaps, findings);
      long moved;
      try {
        moved = relocation.run();
        copies.addAll(relocation.copies());
        if (moved == 0) {
          moved =
              new Separation(metadata, header, checker.walk(), shared, reader, bitmaps, findings)
                  .run();
        }
        metadata.durability.flushAll();
      } catch (ImageException e) {
        add(List.of("ERROR what is shared could not be copied: " + e.getMessage()));
        unsure = true;
        return false;
      }
      add(findings.lines());
      corruptionsFixed += moved;
      sharing = moved > 0;
      return moved > 0;
    }
  }

  /**
   * Makes the file cover what entries lead to close behind its end, before anything is written
   * there: what is new must not be what they lead to. They read as zero before and after; what the
   * disk has lost by that is told.
   */
  private boolean grow(Qcow2Checker checker, TableReader reader, long fileSize) throws IOException {
    Header header = checker.cluster().header();
    long bytes = header.geometry().clusterOffset(checker.walk().beyondEnd());
    if (bytes <= fileSize || storage.fixedSize()) {
      return false;
    }
    Losses.find(header, fileSize, reader).stream()
        .filter(each -> each.hostOffset() >= fileSize && each.hostOffset() < bytes)
        .forEach(lost::add);
    storage.resize(bytes, Storage.Preallocation.OFF);
    outdated = true;
    return true;
  }

  private void completeSnapshotTable() throws IOException {
    Header header = HeaderReader.readForCheck(storage).header();
    List<String> told = new SnapshotTableRepair(storage, header).run();
    if (!told.isEmpty()) {
      lines.addAll(0, told);
      // The old table has become free, which is no finding.
      long leaks = leaksFixed;
      round(new Findings(), false);
      leaksFixed = leaks;
      corruptionsFixed += told.size();
    }
  }

  /** Says that the image is sound. */
  private void clearFeatureBits() throws IOException {
    Header header = HeaderReader.readForCheck(storage).header();
    if (header.dirty() || header.corrupt()) {
      storage.flush();
      new IncompatibleBits(storage, header)
          .clear(Header.INCOMPATIBLE_DIRTY | Header.INCOMPATIBLE_CORRUPT);
      storage.flush();
    }
  }

  private List<RepairResult.Lost> lost(CheckResult left) throws IOException {
    if (left.corruptions() == 0) {
      return lost;
    }
    long fileSize = storage.size();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      lost.addAll(Losses.find(HeaderReader.readForCheck(storage).header(), fileSize, reader));
      return lost.subList(0, Math.min(lost.size(), CheckResult.MAX_FINDINGS));
    }
  }

  /** Progress of one pass of several; how many there will be is not known. */
  private Progress nextPass() {
    long done = Math.min(pass++, PASSES - 1);
    return (at, total) -> {
      if (at < total) {
        progress.at(done * total + at, PASSES * total);
      }
    };
  }
}
