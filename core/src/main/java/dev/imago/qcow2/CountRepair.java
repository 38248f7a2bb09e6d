package dev.imago.qcow2;

import dev.imago.qcow2.ondisk.Geometry;
import dev.imago.qcow2.ondisk.RefcountBlock;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Sets single counts right where they are. First all that are too low are raised and made durable,
 * and only when {@link #lower} is called are the others lowered: a crash in between leaks clusters
 * and does nothing worse.
 */
final class CountRepair {
  private static final int SECTOR = 512;

  private final Storage storage;
  private final Geometry g;
  private final Qcow2Checker checker;
  private final Findings findings;
  private final boolean mayRaise;
  private final long[] reftable;

  // The sector that is being edited.
  private final ByteBuffer sector = ByteBuffer.allocate(SECTOR);
  private long sectorAt = -1;

  private long leaksFixed;
  private long corruptionsFixed;

  /**
   * A repair to come.
   *
   * @param checker has compared the counts, and needs no rebuild
   * @param mayRaise whether counts that are too low are repaired too
   */
  CountRepair(
      Storage storage, Geometry g, Qcow2Checker checker, Findings findings, boolean mayRaise) {
    this.storage = storage;
    this.g = g;
    this.checker = checker;
    this.findings = findings;
    this.mayRaise = mayRaise;
    this.reftable = checker.reftable();
  }

  /** Clusters whose counts were or will be lowered. */
  long leaksFixed() {
    return leaksFixed;
  }

  /** Clusters whose counts were raised. */
  long corruptionsFixed() {
    return corruptionsFixed;
  }

  /**
   * Raises what is too low, if that is allowed, and flushes; says of every count what becomes of
   * it. Counts that stay too low are taken over into the checker's.
   */
  void raise() throws IOException {
    checker
        .comparison(
            (number, stored, counted) -> {
              if (Long.compareUnsigned(stored, counted) > 0) {
                leaksFixed++;
                tell("Repairing", number, stored, counted);
              } else if (mayRaise && Long.compareUnsigned(counted, g.maxRefcount()) <= 0) {
                corruptionsFixed++;
                tell("Repairing", number, stored, counted);
                set(number, counted);
              } else {
                tell("ERROR", number, stored, counted);
                checker.walk().counts().set(number, (int) stored);
              }
            })
        .run();
    end();
  }

  /** Lowers what is too high, and flushes. */
  void lower() throws IOException {
    if (leaksFixed == 0) {
      return;
    }
    checker
        .comparison(
            (number, stored, counted) -> {
              if (Long.compareUnsigned(stored, counted) > 0) {
                set(number, counted);
              }
            })
        .run();
    end();
  }

  private void tell(String word, long number, long stored, int counted) {
    findings.note(
        "%s cluster %d refcount=%s reference=%d",
        word, number, Long.toUnsignedString(stored), counted);
  }

  private void set(long number, int count) throws IOException {
    long block = reftable[(int) g.reftableIndex(number)] & ~CountComparison.RESERVED;
    long inBlock = number & g.refcountsPerBlock() - 1;
    long at = block + (inBlock << g.refcountOrder() >>> 3) / SECTOR * SECTOR;
    if (at != sectorAt) {
      writeSector();
      storage.read(sector.clear(), at);
      sectorAt = at;
    }
    long perSector = (long) SECTOR * 8 >>> g.refcountOrder();
    RefcountBlock.set(sector, (int) (inBlock % perSector), g.refcountOrder(), count);
  }

  private void writeSector() throws IOException {
    if (sectorAt >= 0) {
      storage.write(sector.clear(), sectorAt);
    }
    sectorAt = -1;
  }

  private void end() throws IOException {
    boolean wrote = sectorAt >= 0 || corruptionsFixed > 0;
    writeSector();
    if (wrote) {
      storage.flush();
    }
  }
}
