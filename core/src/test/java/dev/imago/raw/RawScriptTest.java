package dev.imago.raw;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.SyncMode;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage.Preallocation;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.Script;
import dev.imago.testing.Script.Mix;
import dev.imago.testing.Script.Op;
import dev.imago.testing.ThreadedScript;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A guest's work on raw images, with crashes. */
class RawScriptTest {
  private static final long SIZE = 1 << 20;
  private static final int CLUSTER = 4096;
  private static final Mix MIX =
      Mix.USUAL
          .with(Op.ABANDON, 0) // bytes written to a reserved run are there at once
          .with(Op.GROW, 2)
          .with(Op.SHRINK, 2)
          .with(Op.REOPEN, 2);

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6})
  void whatWasFlushedIsThereAfterEveryCrash(long seed) throws Exception {
    CrashGroup group = new CrashGroup();
    CrashStorage disk = group.storage("disk");
    disk.resize(SIZE, Preallocation.OFF);
    disk.flush();
    ByteOracle oracle = new ByteOracle(SIZE);
    Script script = new Script(seed, MIX, () -> open(disk), oracle, 2 * SIZE);
    var random = new SplittableRandom(seed);
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

    assertThat(crashes).hasSizeGreaterThan(50);
    for (Map.Entry<ByteOracle, CrashImage> crash : crashes) {
      CrashStorage left = new CrashGroup().storage("left", crash.getValue());
      crash.getKey().verifyCrashed(open(left));
    }
  }

  @Test
  void manyGuestsAgreeWithTheOracle() throws Exception {
    MemoryStorage memory = new MemoryStorage("memory");
    memory.resize(SIZE, Preallocation.OFF);
    Image image = inClusters(Raw.open(memory, true, SyncMode.FULL));
    ByteOracle oracle = new ByteOracle(SIZE);
    new ThreadedScript(image, oracle, 5, 4, true).run(300, true);
    oracle.verify(image);
  }

  private static Image open(CrashStorage disk) throws IOException {
    return inClusters(Raw.open(disk.reopen(), true, SyncMode.FULL));
  }

  /** The fixtures know whole sectors: a discard of clusters is what they can follow. */
  private static Image inClusters(Image image) {
    return (Image)
        Proxy.newProxyInstance(
            Image.class.getClassLoader(),
            new Class<?>[] {Image.class},
            (proxy, method, arguments) -> {
              if (method.getName().equals("clusterSize")) {
                return CLUSTER;
              }
              if (method.getName().equals("discard")) {
                long from = (long) arguments[0];
                long to = from + (long) arguments[1];
                long end = to == image.size() ? to : to & -CLUSTER;
                long start = Math.min(from + CLUSTER - 1 & -CLUSTER, end);
                return image.discard(start, Math.max(0, end - start), (Discard) arguments[2]);
              }
              try {
                return method.invoke(image, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }
}
