package dev.imago.testing;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.random.RandomGenerator;

/**
 * A machine with some {@link CrashStorage}s that die at one instant: an image and its data file.
 *
 * <p>At every storage call the {@link #onCall observer} is told, with all other calls held up. The
 * bytes of a write are then pending already, and a flush has not yet taken effect, so that crashing
 * at every call meets every state that can be met. {@link #crash} makes what a crash at that moment
 * could leave, without ending the run: one run gives many crashes. {@link #dieAt} ends it.
 */
public final class CrashGroup {

  /**
   * A storage call at which the machine could die.
   *
   * @param number counts the group's calls from 1
   * @param stage what the calling thread said with {@link #stage}
   */
  public record Moment(long number, StorageCall call, String storage, String stage) {}

  /** Which of the pending writes a crash keeps. */
  public enum Bias {
    /** Everything. A killed process. */
    ALL,
    /** Only what was flushed. */
    NONE,
    /** Each sector on its own keeps any number of its pending writes, oldest first. */
    RANDOM,
    /** As RANDOM, but few sectors keep any. */
    FEW,
    /** As RANDOM, but few sectors lose any. */
    MOST,
    /** One sector keeps all, the others nothing. */
    LONE_SURVIVOR,
    /** One sector keeps nothing, the others all. */
    LONE_VICTIM,
    /** One storage keeps all, the others nothing. */
    ONE_STORAGE
  }

  /** What the calling thread is doing if it does not say. */
  public static final String GUEST = "guest";

  private final List<CrashStorage> storages = new ArrayList<>();
  private final ThreadLocal<String> stage = ThreadLocal.withInitial(() -> GUEST);
  private Consumer<Moment> observer = moment -> {};
  private long calls;
  private long deadFrom = Long.MAX_VALUE;

  /** A new, empty storage of this machine. */
  public CrashStorage storage(String name) {
    return storage(name, new CrashImage(Map.of(), 0));
  }

  /** A storage that holds, durably, what a crash left. */
  public synchronized CrashStorage storage(String name, CrashImage content) {
    CrashStorage storage = new CrashStorage(this, name, content);
    storages.add(storage);
    return storage;
  }

  /** Has {@code observer} called at every storage call of any thread, one at a time. */
  public synchronized void onCall(Consumer<Moment> observer) {
    this.observer = observer;
  }

  /** Names what the calling thread does from now on, for statistics. */
  public void stage(String name) {
    stage.set(name);
  }

  /** How many storage calls there were. */
  public synchronized long calls() {
    return calls;
  }

  /** The machine dies at the call with this number: it and all later ones throw. */
  public synchronized void dieAt(long call) {
    deadFrom = call;
  }

  /** What a crash now leaves, by the storages' names. */
  public synchronized Map<String, CrashImage> crash(RandomGenerator random, Bias bias) {
    int chosen = random.nextInt(Math.max(1, storages.size()));
    long[] lone = {-1, -1};
    if (bias == Bias.LONE_SURVIVOR || bias == Bias.LONE_VICTIM) {
      lone = onePending(random);
    }
    Map<String, CrashImage> left = new LinkedHashMap<>();
    for (int i = 0; i < storages.size(); i++) {
      CrashStorage storage = storages.get(i);
      long sector = lone[0] == i ? lone[1] : -1;
      left.put(storage.name(), storage.crash(keep(bias, random, sector, i == chosen)));
    }
    return left;
  }

  private long[] onePending(RandomGenerator random) {
    List<long[]> places = new ArrayList<>();
    for (int i = 0; i < storages.size(); i++) {
      for (long sector : storages.get(i).pendingSectors()) {
        places.add(new long[] {i, sector});
      }
    }
    return places.isEmpty() ? new long[] {-1, -1} : places.get(random.nextInt(places.size()));
  }

  /**
   * The size is treated as one more sector, numbered -2; but a lone survivor's size survives too.
   */
  private static CrashStorage.Keep keep(
      Bias bias, RandomGenerator random, long lone, boolean chosen) {
    return switch (bias) {
      case ALL -> (sector, pending) -> pending;
      case NONE -> (sector, pending) -> 0;
      case RANDOM -> (sector, pending) -> random.nextInt(pending + 1);
      case FEW -> (sector, pending) -> random.nextInt(16) == 0 ? 1 + random.nextInt(pending) : 0;
      case MOST -> (sector, pending) -> random.nextInt(16) == 0 ? random.nextInt(pending) : pending;
      case LONE_SURVIVOR ->
          (sector, pending) ->
              sector == lone || (sector == CrashStorage.SIZE && lone >= 0) ? pending : 0;
      case LONE_VICTIM -> (sector, pending) -> sector == lone ? 0 : pending;
      case ONE_STORAGE -> (sector, pending) -> chosen ? pending : 0;
    };
  }

  /** Called by a storage under this group's lock. */
  void enter(CrashStorage storage) throws CrashedException {
    if (++calls >= deadFrom) {
      throw new CrashedException(storage.name());
    }
  }

  /** Called by a storage under this group's lock, when what the call does is pending. */
  void observe(CrashStorage storage, StorageCall call) {
    observer.accept(new Moment(calls, call, storage.name(), stage.get()));
  }
}
