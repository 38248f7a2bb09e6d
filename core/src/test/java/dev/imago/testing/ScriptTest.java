package dev.imago.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.Script.Mix;
import dev.imago.testing.Script.Op;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The script and the oracle agree with a disk that has no mapping to get wrong. */
class ScriptTest {
  private static final long SIZE = 1 << 20;
  private static final Mix MIX =
      Mix.USUAL
          .with(Op.RESERVE, 0)
          .with(Op.ABANDON, 0)
          .with(Op.DISCARD_TO_BACKING, 0)
          .with(Op.GROW, 2)
          .with(Op.SHRINK, 2)
          .with(Op.REOPEN, 2);

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5})
  void aFlatDiskIsRightAtEveryCrash(long seed) throws Exception {
    assertThat(crashes(seed, false)).isGreaterThan(50);
  }

  @Test
  void aDiskThatForgetsToFlushIsFoundOut() {
    assertThatThrownBy(() -> crashes(1, true))
        .isInstanceOf(AssertionError.class)
        .hasMessageMatching("(?s).*(size is .*, not one of|sectors are wrong).*");
  }

  @Test
  void aByteInTheWrongSectorIsTraced() throws Exception {
    CrashGroup group = new CrashGroup();
    ByteOracle oracle = new ByteOracle(SIZE);
    CrashStorage disk = group.storage("disk");
    disk.resize(SIZE, Preallocation.OFF);
    oracle.writing(4096, Stamp.bytes(7, 4096, 512, 3)).done();
    disk.write(ByteBuffer.wrap(Stamp.bytes(7, 8192, 512, 5)), 4096);

    assertThatThrownBy(() -> oracle.verify(new FlatImage(disk, true)))
        .hasMessageContaining("guest sector 0x8 (offset 0x1000, bytes 0 to 512)")
        .hasMessageContaining("holds sector 0x10 version 5; allowed:\n    sector 0x8 version 3");
  }

  @Test
  void manyGuestsOnAFlatDiskAgreeWithTheOracle() throws Exception {
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk");
    disk.resize(SIZE, Preallocation.OFF);
    FlatImage image = new FlatImage(disk, false);
    ByteOracle oracle = new ByteOracle(SIZE);
    new ThreadedScript(image, oracle, 5, 4, true).run(300, true);
    oracle.verify(image);
  }

  @Test
  void theSameSeedGivesTheSameCalls() throws Exception {
    List<String> first = calls(9);

    assertThat(calls(9)).isEqualTo(first);
    assertThat(calls(10)).isNotEqualTo(first);
  }

  private static List<String> calls(long seed) throws IOException {
    CrashGroup group = new CrashGroup();
    List<String> calls = new ArrayList<>();
    group.onCall(moment -> calls.add(moment.toString()));
    script(group, seed, new ByteOracle(SIZE), false).run(100);
    return calls;
  }

  private static int crashes(long seed, boolean forgetful) throws IOException {
    CrashGroup group = new CrashGroup();
    ByteOracle oracle = new ByteOracle(SIZE);
    Script script = script(group, seed, oracle, forgetful);
    RandomGenerator random = new SplittableRandom(seed);
    List<Map.Entry<ByteOracle, CrashImage>> crashes = new ArrayList<>();
    group.onCall(
        moment -> {
          if (random.nextInt(4) == 0) {
            Bias bias = Bias.values()[random.nextInt(Bias.values().length)];
            crashes.add(Map.entry(oracle.copy(), group.crash(random, bias).get("disk")));
          }
        });
    script.run(300);
    group.onCall(moment -> {});
    oracle.verify(script.image());
    for (Map.Entry<ByteOracle, CrashImage> crash : crashes) {
      CrashStorage left = new CrashGroup().storage("left", crash.getValue());
      ByteOracle settled = crash.getKey().verifyCrashed(new FlatImage(left, false));
      settled.verify(new FlatImage(left, false));
    }
    return crashes.size();
  }

  private static Script script(CrashGroup group, long seed, ByteOracle oracle, boolean forgetful)
      throws IOException {
    CrashStorage disk = group.storage("disk");
    disk.resize(SIZE, Preallocation.OFF);
    disk.flush();
    return new Script(
        seed,
        MIX,
        () -> {
          FaultyStorage faulty = new FaultyStorage(disk.reopen());
          faulty.skipWhen(request -> forgetful && request.call() == StorageCall.FLUSH);
          return new FlatImage(faulty, false);
        },
        oracle,
        2 * SIZE);
  }
}
