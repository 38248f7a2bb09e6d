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

  /** What one copy uncovers, the next time copies: a table first, then what it leads to. */
  private static final int SEPARATIONS = 3;

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

  private Qcow2Repair(Storage storage, RepairMode mode, Progress progress) {
    this.storage = storage;
    this.mode = mode;
    this.progress = progress;
  }

  /** See {@link Qcow2#repair}. */
  static RepairResult run(Storage storage, RepairMode mode, Progress progress) throws IOException {
    return new Qcow2Repair(storage, mode, progress).run();
  }

  private RepairResult run() throws IOException {
    CheckResult left = round();
    if (!refused && !blind && mode == RepairMode.ALL) {
      for (int i = 0; i < SEPARATIONS && separate(); i++) {
        left = round();
      }
      completeSnapshotTable();
    }
    if (!refused && leaksFixed + corruptionsFixed > 0) {
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
      Header header = checker.cluster().header();
      Set<Long> shared = checker.overlaps();
      if (entries && findings.corruptions() > 0) {
        Findings repairs = new Findings();
        var repair = new EntryRepair(storage, header, reader, checker.walk(), shared, repairs);
        if (repair.run()) {
          corruptionsFixed += repairs.fixed();
          findings.replaceBy(repairs);
          return null;
        }
      }
      long before = findings.corruptions() - checker.structureCorruptions();
      checker.compare(false);
      boolean recounted = findings.corruptions() > before;
      sharing |= !shared.isEmpty() || (recounted && checker.walk().counts().shared());
      if (checker.needsRebuild()) {
        if (mode == RepairMode.LEAKS) {
          findings.note("ERROR need to rebuild refcount structures");
          refused = true;
          return checker.result();
        }
        findings.note("Rebuilding refcount structure");
        checker.forgetRefcountStructures();
        new RefcountRebuild(storage, header, checker.walk().counts(), checker.walk().clusters())
            .run();
        leaksFixed += findings.leaks();
        corruptionsFixed += findings.corruptions() - before;
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

  private void repairFlags(
      Qcow2Checker checker, Header header, TableReader reader, Set<Long> shared, Findings findings)
      throws IOException {
    if (checker.walk().allFlagged() && !findings.any()) {
      return;
    }
    boolean may = mode == RepairMode.ALL || findings.corruptions() + findings.errors() == 0;
    boolean known = shared.size() < Findings.MAX_OVERLAPS;
    new CopiedCheck(
            storage, header, reader, checker.walk().counts(), findings, shared, may && known)
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
      if (!checker.count() || header.externalData() || header.cryptMethod() != 0) {
        return false;
      }
      Findings findings = new Findings();
      Qcow2Image image;
      try {
        image = OpenParts.openForRepair(storage);
      } catch (ImageException e) {
        // What is wrong is told by the check that follows.
        return false;
      }
      long copied;
      try {
        copied =
            new Separation(
                    image, header, checker.walk().counts(), checker.overlaps(), reader, findings)
                .run();
      } finally {
        image.end();
      }
      add(findings.lines());
      corruptionsFixed += copied;
      return copied > 0;
    }
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
      return List.of();
    }
    long fileSize = storage.size();
    try (TableReader reader = new TableReader(storage, fileSize)) {
      return Losses.find(HeaderReader.readForCheck(storage).header(), fileSize, reader);
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
