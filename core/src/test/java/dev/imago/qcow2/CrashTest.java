package dev.imago.qcow2;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.qcow2.CrashRun.Crash;
import dev.imago.qcow2.CrashSetup.Kind;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The machine dies in the middle of everything, and no flushed byte is lost.
 *
 * <p>{@code -Dimago.crash=KIND:SEED} runs one script again, with every crash of it judged; {@code
 * -Dimago.crash=KIND} runs the scripts of one kind.
 */
class CrashTest {
  private static final boolean LONG = Boolean.getBoolean("imago.long");
  private static final int RUNS = LONG ? 30 : 1;
  private static final long FIRST_SEED = Long.getLong("imago.seed", 1);
  private static final Map<String, Integer> STAGES = new TreeMap<>();
  private static final Map<String, Integer> CALLS = new TreeMap<>();

  @TempDir private Path folder;

  static String howToRepeat(CrashSetup setup) {
    return "to repeat: mvn -pl core test -Dtest=CrashTest -Dimago.crash=%s:%d"
        .formatted(setup.asked(), setup.seed());
  }

  @ParameterizedTest
  @EnumSource
  void noFlushedByteIsLostInACrash(Kind kind) throws Exception {
    String only = System.getProperty("imago.crash", "");
    if (!only.isEmpty()) {
      String[] parts = only.split(":");
      if (!parts[0].equals(kind.name())) {
        return;
      }
      if (parts.length > 1) {
        run(CrashSetup.of(kind, Long.parseLong(parts[1])), 1000);
        return;
      }
    }
    for (long seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
      run(CrashSetup.of(kind, seed), 1);
    }
  }

  /** The part before the run was filled with zeroes first, over what the disk still led to. */
  @Test
  void aSectorInWhichAReservedRunOfADataFileBeginsIsNeverHalfOld() throws Exception {
    run(CrashSetup.of(Kind.DATA_FILE, 9), 1);
  }

  private void run(CrashSetup setup, int perClass) throws Exception {
    CrashRun run = new CrashRun(setup, folder, perClass, Events.NONE);
    CrashJudge judge = new CrashJudge(setup, folder, true);
    for (Crash crash : run.run()) {
      STAGES.merge(crash.moment().stage(), 1, Integer::sum);
      CALLS.merge(crash.moment().call().name(), 1, Integer::sum);
      judge.judge(crash);
    }
    judge.judgeClosed(run);
  }

  @AfterAll
  static void tells() {
    int crashes = STAGES.values().stream().mapToInt(n -> n).sum();
    System.out.printf(
        "%d crashes from seed %d on%n  in stages: %s%n  at storage calls: %s%n",
        crashes, FIRST_SEED, STAGES, CALLS);
    if (LONG && System.getProperty("imago.crash", "").isEmpty()) {
      assertThat(crashes).isGreaterThanOrEqualTo(5000);
      assertThat(STAGES.values()).allMatch(n -> n >= 50);
      assertThat(CALLS.values()).allMatch(n -> n >= 50);
    }
  }
}
