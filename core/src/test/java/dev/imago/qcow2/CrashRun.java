package dev.imago.qcow2;

import dev.imago.image.Image;
import dev.imago.image.ReferenceOpener;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.storage.Storage;
import dev.imago.testing.ByteOracle;
import dev.imago.testing.CrashGroup;
import dev.imago.testing.CrashGroup.Bias;
import dev.imago.testing.CrashGroup.Moment;
import dev.imago.testing.CrashImage;
import dev.imago.testing.CrashStorage;
import dev.imago.testing.FlatImage;
import dev.imago.testing.Script;
import dev.imago.testing.SnapshotOracle;
import dev.imago.testing.StorageCall;
import dev.imago.testing.ThreadedScript;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.jspecify.annotations.Nullable;

/**
 * One run of a script over storages that can crash. Of all its storage calls it keeps some, spread
 * over stages and kinds of call, as crashes to be judged afterwards; the run itself goes on.
 */
final class CrashRun {
  static final String IMAGE = "image";
  static final String DATA = "data";

  /** A crash: when, how, what was left, and what may be left. */
  record Crash(
      Moment moment,
      Bias bias,
      Map<String, CrashImage> left,
      ByteOracle oracle,
      SnapshotOracle snapshots) {}

  private final CrashSetup setup;
  private final Path folder;
  private final int perClass;
  private final Staged events;
  private final RandomGenerator random;
  private final CrashGroup group = new CrashGroup();
  private final Map<String, List<Crash>> kept = new HashMap<>();
  private final Map<String, Integer> seen = new HashMap<>();
  private final ByteOracle oracle;
  private final SnapshotOracle snapshots = new SnapshotOracle();
  private @Nullable CrashStorage image;
  private @Nullable CrashStorage data;

  /**
   * A run that has not begun.
   *
   * @param perClass how many crashes are kept of each stage and kind of call
   * @param events what the engine is told to do wrong
   */
  CrashRun(CrashSetup setup, Path folder, int perClass, Events events) {
    this.setup = setup;
    this.folder = folder;
    this.perClass = perClass;
    this.events = new Staged(group, events);
    this.random = new SplittableRandom(setup.seed());
    this.oracle = new ByteOracle(setup.size(), setup.behind());
    byte[] content = setup.content();
    if (content.length > 0) {
      oracle.writing(0, content).doneDurably();
    }
  }

  /** Runs the script to its end. What goes wrong without a crash is a failure too. */
  List<Crash> run() throws IOException, InterruptedException {
    image = group.storage(IMAGE, setup.make(imagePath(), dataPath(), basePath()));
    image.behaving(setup.discardUnit(), setup.zeroesCheaply());
    if (setup.dataFile()) {
      data = group.storage(DATA, CrashImage.of(dataPath()));
      data.behaving(setup.discardUnit(), setup.zeroesCheaply());
    }
    group.onCall(this::consider);
    if (setup.threads() > 1) {
      try (Image open = open()) {
        new ThreadedScript(open, oracle, setup.seed(), setup.threads(), true)
            .run(setup.steps(), true);
        oracle.verify(open);
      }
    } else {
      Script script =
          new Script(setup.seed(), setup.mix(), this::open, oracle, setup.maxSize())
              .withSnapshots(snapshots)
              .expectingDurableResizes()
              .notBelow(setup.minSize());
      script.run(setup.steps());
      oracle.verify(script.image());
      script.close();
    }
    group.onCall(moment -> {});
    List<Crash> all = new ArrayList<>();
    kept.values().forEach(all::addAll);
    return all;
  }

  /** What is there after the orderly end. */
  CrashImage closed() {
    return Objects.requireNonNull(image).content();
  }

  SnapshotOracle snapshots() {
    return snapshots;
  }

  ByteOracle oracle() {
    return oracle;
  }

  Path imagePath() {
    return folder.resolve("disk.qcow2");
  }

  Path dataPath() {
    return folder.resolve("disk.data");
  }

  private Path basePath() {
    return folder.resolve("base.raw");
  }

  private Image open() throws IOException {
    CrashStorage again = Objects.requireNonNull(image).reopen();
    return open(setup, again, data == null ? null : data.reopen(), basePath(), events);
  }

  static Image open(
      CrashSetup setup, Storage image, @Nullable Storage data, Path base, Events events)
      throws IOException {
    Qcow2OpenOptions options =
        Qcow2OpenOptions.defaults()
            .withWritable(true)
            .withSync(setup.sync())
            .withCaches(setup.cacheBytes(), setup.cacheBytes())
            .withQuarantine(setup.quarantineBytes());
    try (Secret secret = CrashSetup.secret()) {
      return Qcow2.open(image, options.withKey(secret, false), new Opener(data, base), events);
    }
  }

  /** Opens, for reading only, what the orderly end or a crash left. */
  static Image openReadOnly(Storage image, @Nullable Storage data, Path base) throws IOException {
    return Qcow2.open(image, Qcow2OpenOptions.defaults(), new Opener(data, base));
  }

  /**
   * Keeps a fair sample of each kind of moment: what kind of call, and which stages of its flush
   * have been reached. Called with all storage calls held up.
   */
  private void consider(Moment moment) {
    String where = events.path() + moment.storage() + moment.call();
    int count = seen.merge(where, 1, Integer::sum);
    List<Crash> crashes = kept.computeIfAbsent(where, w -> new ArrayList<>());
    int wanted = rare(moment) ? 4 * perClass : perClass;
    int place = crashes.size() < wanted ? crashes.size() : random.nextInt(count);
    if (place < wanted) {
      // What is left depends on the moment alone, however many others are kept.
      RandomGenerator left = new SplittableRandom(setup.seed() * 1_000_003 + moment.number());
      Bias bias =
          setup.sync() == SyncMode.FULL
              ? Bias.values()[left.nextInt(Bias.values().length)]
              : Bias.ALL;
      Crash crash =
          new Crash(moment, bias, group.crash(left, bias), oracle.copy(), snapshots.copy());
      if (place < crashes.size()) {
        crashes.set(place, crash);
      } else {
        crashes.add(crash);
      }
    }
  }

  /** What few runs come to. */
  private static boolean rare(Moment moment) {
    return moment.call() == StorageCall.RESIZE
        || moment.stage().equals(Events.Stage.DIRTY.name())
        || moment.stage().equals(Events.Stage.REFTABLE_POINTER.name());
  }

  /** Knows the stages that each thread's flush has reached, and passes on what is to go wrong. */
  private static final class Staged implements Events {
    private final CrashGroup group;
    private final Events inner;
    private final ThreadLocal<Set<Stage>> path =
        ThreadLocal.withInitial(() -> EnumSet.noneOf(Stage.class));

    Staged(CrashGroup group, Events inner) {
      this.group = group;
      this.inner = inner;
    }

    String path() {
      return path.get().toString();
    }

    @Override
    public void entering(Stage stage) {
      path.get().add(stage);
      group.stage(stage.name());
    }

    @Override
    public void left() {
      path.get().clear();
      group.stage(CrashGroup.GUEST);
    }

    @Override
    public boolean skipsBarrier(Stage stage) {
      return inner.skipsBarrier(stage);
    }

    @Override
    public List<Stage> order(List<Stage> stages) {
      return inner.order(stages);
    }

    @Override
    public boolean skipsInUse() {
      return inner.skipsInUse();
    }

    @Override
    public boolean skipsQuarantine() {
      return inner.skipsQuarantine();
    }
  }

  private record Opener(@Nullable Storage data, Path base) implements ReferenceOpener {
    @Override
    public Image openBacking(String name, @Nullable String format) throws IOException {
      CrashStorage bytes = new CrashGroup().storage(name);
      bytes.write(ByteBuffer.wrap(Files.readAllBytes(base)), 0);
      return new FlatImage(bytes, true);
    }

    @Override
    public Storage openDataFile(String name, boolean writable) {
      return Objects.requireNonNull(data);
    }
  }
}
