package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.qcow2.CrashRun.Crash;
import dev.imago.qcow2.CrashSetup.Kind;
import dev.imago.qcow2.Events.Stage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The crash test is worth something: it fails as soon as one thing is done wrong.
 *
 * <p>Some pairs of stages may be swapped without harm, and are not tried. L2 and L1: a new or
 * cloned table is whole on the disk before the first barrier, so that neither entry leads to
 * anything unwritten. SIZE and RELEASE: what a smaller disk gives back was unlinked by the stages
 * before. SNAPSHOTS and SIZE or L1_POINTER: no flush writes both. CLEAN: it writes in the second of
 * two flushes, {@link LazyRefcountsTest} tries it.
 */
class CrashProofTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int SEEDS = 60;

  @TempDir private Path folder;

  /** An engine with one fault, the kinds of run that can show it, and the seed to begin with. */
  record Fault(String name, Events events, List<Kind> kinds, long firstSeed) {
    @Override
    public String toString() {
      return name;
    }
  }

  static Stream<Fault> faults() {
    List<Fault> faults = new ArrayList<>();
    List<Stage> stages = List.of(Stage.values());
    for (Stage stage : stages) {
      // DIRTY shares the barrier of REFCOUNTS. A dirty bit that outlives CLEAN costs a repair.
      if (stage != Stage.RELEASE && stage != Stage.DIRTY && stage != Stage.CLEAN) {
        String name = "no barrier behind " + stage;
        // Only a flush in the middle of a resize, by an eviction, moves the L1 table alone.
        long seed = stage == Stage.L1_POINTER ? 16 : 1;
        faults.add(new Fault(name, skipping(stage), kinds(stage), seed));
      }
    }
    for (int i = 0; i < stages.size(); i++) {
      for (int j = i + 1; j < (LONG ? stages.size() : next(stages, i) + 1); j++) {
        Stage early = stages.get(i);
        Stage late = stages.get(j);
        if (!harmless(early, late)) {
          String name = "%s and %s swapped".formatted(early, late);
          List<Kind> kinds = both(kinds(early), kinds(late));
          faults.add(new Fault(name, swapping(early, late), kinds, 1));
        }
      }
    }
    List<Kind> kinds = List.of(Kind.PLAIN, Kind.DATA_FILE);
    faults.add(new Fault("no quarantine", withoutQuarantine(), kinds, 1));
    List<Kind> lazy = List.of(Kind.LAZY);
    faults.add(
        new Fault("late counts, no barrier behind REFCOUNTS", skipping(Stage.REFCOUNTS), lazy, 1));
    faults.add(
        new Fault("late counts, and the disk does not say so", moving(Stage.DIRTY, -1), lazy, 1));
    int afterL2 = Stage.L2.ordinal();
    faults.add(
        new Fault("late counts, the disk says so late", moving(Stage.DIRTY, afterL2), lazy, 1));
    faults.add(new Fault("bitmaps not in use", withoutInUse(), List.of(Kind.BITMAPS), 1));
    return faults.stream();
  }

  /** The stage behind this one; CLEAN, which seldom writes, is passed over. */
  private static int next(List<Stage> stages, int i) {
    int next = i + 1 < stages.size() && stages.get(i + 1) == Stage.CLEAN ? i + 2 : i + 1;
    return Math.min(next, stages.size() - 1);
  }

  private static boolean harmless(Stage early, Stage late) {
    return (early == Stage.L2 && late == Stage.L1)
        || (early == Stage.SIZE && late == Stage.RELEASE)
        || ((early == Stage.SIZE || early == Stage.L1_POINTER) && late == Stage.SNAPSHOTS)
        || (early.ordinal() > Stage.REFTABLE_POINTER.ordinal() && late == Stage.CLEAN)
        || early == Stage.CLEAN;
  }

  /** The kinds of run in which a stage writes often. */
  private static List<Kind> kinds(Stage stage) {
    return switch (stage) {
      case REFCOUNTS, L2, L1 -> List.of(Kind.PLAIN, Kind.SNAPSHOT, Kind.SMALL_CACHES);
      case REFTABLE, REFTABLE_POINTER -> List.of(Kind.REFCOUNT_GROWTH);
      case L1_POINTER, SIZE -> List.of(Kind.L1_GROWTH, Kind.BACKING);
      case SNAPSHOTS -> List.of(Kind.SNAPSHOTS);
      case DIRTY, CLEAN -> List.of(Kind.LAZY);
      case RELEASE -> List.of(Kind.PLAIN, Kind.COMPRESSED, Kind.DATA_FILE);
    };
  }

  private static List<Kind> both(List<Kind> some, List<Kind> others) {
    return Stream.concat(others.stream(), some.stream()).distinct().toList();
  }

  @ParameterizedTest
  @MethodSource("faults")
  void aFaultIsFound(Fault fault) throws Exception {
    boolean found = false;
    for (long seed = fault.firstSeed(); seed < fault.firstSeed() + SEEDS && !found; seed++) {
      for (Kind kind : fault.kinds()) {
        found = found || fails(CrashSetup.of(kind, seed), fault);
      }
    }
    assertThat(found).as("some seed must find: %s", fault).isTrue();
  }

  private boolean fails(CrashSetup setup, Fault fault) throws InterruptedException {
    try {
      CrashRun run = new CrashRun(setup, folder, 1, fault.events());
      for (Crash crash : run.run()) {
        new CrashJudge(setup, folder, false).judge(crash);
      }
      return false;
    } catch (AssertionError | IOException | RuntimeException e) {
      String why = String.valueOf(e.getMessage());
      System.out.println(fault + ": " + why.substring(0, Math.min(why.length(), 300)));
      return true;
    }
  }

  private static Events skipping(Stage skipped) {
    return new Events() {
      @Override
      public boolean skipsBarrier(Stage stage) {
        return stage == skipped;
      }
    };
  }

  private static Events swapping(Stage one, Stage other) {
    return new Events() {
      @Override
      public List<Stage> order(List<Stage> stages) {
        List<Stage> swapped = new ArrayList<>(stages);
        Collections.swap(swapped, stages.indexOf(one), stages.indexOf(other));
        return swapped;
      }
    };
  }

  /**
   * A stage at another place among the others.
   *
   * @param place counted without it; -1 leaves it out
   */
  private static Events moving(Stage moved, int place) {
    return new Events() {
      @Override
      public List<Stage> order(List<Stage> stages) {
        List<Stage> changed = new ArrayList<>(stages);
        changed.remove(moved);
        if (place >= 0) {
          changed.add(place, moved);
        }
        return changed;
      }
    };
  }

  private static Events withoutInUse() {
    return new Events() {
      @Override
      public boolean skipsInUse() {
        return true;
      }
    };
  }

  private static Events withoutQuarantine() {
    return new Events() {
      @Override
      public boolean skipsQuarantine() {
        return true;
      }
    };
  }
}
