package dev.imago.testing;

import dev.imago.Snapshots;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Image.Range;
import dev.imago.image.Mapping;
import dev.imago.image.Progress;
import dev.imago.image.WritableRun;
import dev.imago.qcow2.Qcow2;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;

/**
 * A guest that does things by a seed, and tells a {@link ByteOracle} of each. One thread. The same
 * seed and mix on equal images give the same calls.
 */
public final class Script {
  private static final int SECTOR = ByteOracle.SECTOR;
  private static final int REMEMBERED = 12;

  /** What a guest can do. */
  public enum Op {
    WRITE,
    WRITE_FUA,
    /** A long write, to use up clusters. */
    FILL,
    READ,
    ZERO,
    ZERO_KEEPING_SPACE,
    DISCARD,
    DISCARD_KEEPING_SPACE,
    DISCARD_TO_ANY,
    DISCARD_TO_BACKING,
    /** Discards a range, writes it again and flushes. */
    DISCARD_REWRITE_FLUSH,
    FLUSH,
    GROW,
    SHRINK,
    REOPEN,
    /** Writes by way of {@link Image#reserve} and commits. */
    RESERVE,
    /** Reserves, and gives back. */
    ABANDON,
    /** Compresses whole clusters. Only for images that can hold them. */
    COMPRESS,
    /** Makes an internal snapshot. */
    SNAPSHOT,
    /** Makes the disk what it was. */
    APPLY,
    DELETE_SNAPSHOT,
    /** Moves clusters ahead and cuts the file off. */
    COMPACT,
    /** Grows, and gives the new part its places or space. */
    PREALLOCATE
  }

  /** How often each is done, as weights. */
  public record Mix(Map<Op, Integer> weights) {
    /** What a guest mostly does. */
    public static final Mix USUAL =
        new Mix(new EnumMap<>(Op.class))
            .with(Op.WRITE, 40)
            .with(Op.WRITE_FUA, 2)
            .with(Op.FILL, 1)
            .with(Op.READ, 10)
            .with(Op.ZERO, 6)
            .with(Op.ZERO_KEEPING_SPACE, 3)
            .with(Op.DISCARD, 8)
            .with(Op.DISCARD_KEEPING_SPACE, 2)
            .with(Op.DISCARD_TO_ANY, 4)
            .with(Op.DISCARD_TO_BACKING, 2)
            .with(Op.DISCARD_REWRITE_FLUSH, 2)
            .with(Op.FLUSH, 8)
            .with(Op.RESERVE, 4)
            .with(Op.ABANDON, 2);

    /** This mix with another weight for {@code op}. */
    public Mix with(Op op, int weight) {
      Map<Op, Integer> changed = new EnumMap<>(Op.class);
      changed.putAll(weights);
      changed.put(op, weight);
      return new Mix(changed);
    }

    private Op pick(RandomGenerator random) {
      int at = random.nextInt(weights.values().stream().mapToInt(w -> w).sum());
      for (Map.Entry<Op, Integer> entry : weights.entrySet()) {
        at -= entry.getValue();
        if (at < 0) {
          return entry.getKey();
        }
      }
      throw new AssertionError("no weights");
    }
  }

  /** Opens the image anew, after the script has closed it. */
  public interface Opener {
    Image open() throws IOException;
  }

  private final long seed;
  private final RandomGenerator random;
  private final ByteOracle oracle;
  private final Mix mix;
  private final Opener opener;
  private final long maxSize;
  private final Deque<String> log = new ArrayDeque<>();
  private Image image;
  private long version;
  private boolean resizesAreDurable;
  private long smallest;
  private SnapshotOracle snapshots = new SnapshotOracle();

  /**
   * A script on an open image.
   *
   * @param maxSize a resize does not go above this many bytes
   */
  public Script(long seed, Mix mix, Opener opener, ByteOracle oracle, long maxSize)
      throws IOException {
    this.seed = seed;
    this.random = new SplittableRandom(seed);
    this.mix = mix;
    this.opener = opener;
    this.oracle = oracle;
    this.maxSize = maxSize;
    this.image = opener.open();
  }

  /** Expects a resize to survive as soon as it has returned, not only after the next flush. */
  public Script expectingDurableResizes() {
    resizesAreDurable = true;
    return this;
  }

  /** Never makes the disk smaller than this. */
  public Script notBelow(long bytes) {
    smallest = bytes;
    return this;
  }

  /** Goes on with snapshots that the image has already. */
  public Script withSnapshots(SnapshotOracle there) {
    snapshots = there;
    return this;
  }

  /** The image as it is open now. */
  public Image image() {
    return image;
  }

  /** The last things done, latest at the end, for messages. */
  public List<String> log() {
    return List.copyOf(log);
  }

  /** Does {@code steps} things. */
  public void run(int steps) throws IOException {
    for (int i = 0; i < steps; i++) {
      step();
    }
  }

  /** Does one thing. */
  public void step() throws IOException {
    version++;
    Op op = mix.pick(random);
    if (image.size() == 0 && op != Op.REOPEN && op != Op.FLUSH) {
      op = Op.GROW;
    }
    try {
      perform(op);
    } catch (AssertionError e) {
      throw new AssertionError(String.join("\n", log) + "\n" + e.getMessage(), e);
    }
  }

  private void perform(Op op) throws IOException {
    switch (op) {
      case WRITE, WRITE_FUA -> write(range(2L * image.clusterSize()), op == Op.WRITE_FUA);
      case FILL -> write(range(1 << 17), false);
      case READ -> read(range(3L * image.clusterSize()));
      case ZERO, ZERO_KEEPING_SPACE -> zero(range(3L * image.clusterSize()), op == Op.ZERO);
      case DISCARD -> discard(range(5L * image.clusterSize()), Discard.TO_ZERO);
      case DISCARD_KEEPING_SPACE ->
          discard(range(5L * image.clusterSize()), Discard.TO_ZERO_KEEPING_SPACE);
      case DISCARD_TO_ANY -> discard(range(5L * image.clusterSize()), Discard.TO_ANY);
      case DISCARD_TO_BACKING -> discard(range(5L * image.clusterSize()), Discard.TO_BACKING);
      case DISCARD_REWRITE_FLUSH -> {
        Range range = range(3L * image.clusterSize());
        discard(range, random.nextBoolean() ? Discard.TO_ZERO : Discard.TO_ANY);
        write(range, false);
        flush();
      }
      case FLUSH -> flush();
      case GROW -> resize(image.size() + (random.nextInt(maxSectors() / 4 + 1) + 1L) * SECTOR);
      case SHRINK -> resize(image.size() - random.nextInt(maxSectors() / 4 + 1) * (long) SECTOR);
      case REOPEN -> reopen();
      case RESERVE -> reserve(range(3L * image.clusterSize()), true);
      case ABANDON -> reserve(range(3L * image.clusterSize()), false);
      case COMPRESS -> compress(range(3L * image.clusterSize()));
      case SNAPSHOT -> snapshot();
      case APPLY -> apply();
      case DELETE_SNAPSHOT -> deleteSnapshot();
      case COMPACT -> compact();
      case PREALLOCATE -> preallocate();
    }
  }

  private void snapshot() throws IOException {
    if (snapshots.size() == SnapshotOracle.MOST) {
      deleteSnapshot();
      return;
    }
    say("snapshot");
    snapshots.creating(oracle.expected());
    long begun = oracle.flushing();
    snapshots.created(Snapshots.create(image, "at " + version, Instant.EPOCH).id());
    oracle.flushed(begun);
  }

  private void apply() throws IOException {
    String id = snapshots.any(random);
    if (id == null) {
      snapshot();
      return;
    }
    say("apply snapshot " + id);
    byte[] disk = snapshots.applying(id);
    Snapshots.apply(image, id);
    oracle.become(disk);
    snapshots.applied();
  }

  private void deleteSnapshot() throws IOException {
    String id = snapshots.any(random);
    if (id == null) {
      snapshot();
      return;
    }
    say("delete snapshot " + id);
    snapshots.deleting(id);
    long begun = oracle.flushing();
    Snapshots.delete(image, id);
    oracle.flushed(begun);
    snapshots.deleted();
  }

  private void compact() throws IOException {
    say("compact");
    long begun = oracle.flushing();
    Qcow2.compact(image, Progress.NONE);
    oracle.flushed(begun);
  }

  private int maxSectors() {
    return (int) (maxSize / SECTOR);
  }

  /** A range with an eye for borders: of sectors, clusters, metadata slices, L2 tables, the end. */
  private Range range(long longest) {
    long size = image.size();
    long cluster = Math.max(SECTOR, image.clusterSize());
    long unit =
        switch (random.nextInt(8)) {
          case 0 -> 1;
          case 1 -> SECTOR;
          case 2 -> cluster * Math.min(cluster, 4096) / 8;
          case 3 -> cluster * cluster / 8;
          default -> cluster;
        };
    long at = Math.floorMod(random.nextLong(), size / unit + 1) * unit;
    at +=
        switch (random.nextInt(8)) {
          case 0 -> -SECTOR;
          case 1 -> SECTOR;
          case 2 -> random.nextInt(3) - 1;
          case 3 -> -cluster;
          case 4 -> random.nextInt((int) cluster);
          default -> 0;
        };
    at = Math.clamp(at, 0, size - 1);
    long length =
        switch (random.nextInt(6)) {
          case 0 -> SECTOR;
          case 1 -> 1 + random.nextInt(2 * SECTOR);
          case 2 -> cluster;
          case 3 -> cluster * (1 + random.nextInt(3));
          default -> 1 + Math.floorMod(random.nextLong(), longest);
        };
    length = Math.min(length, Math.min(longest, 1 << 18));
    return new Range(at, Math.min(length, size - at));
  }

  private void write(Range range, boolean fua) throws IOException {
    say(fua ? "write with FUA" : "write", range);
    int length = (int) range.length();
    boolean zero = random.nextInt(16) == 0;
    byte[] bytes =
        zero ? new byte[length] : Stamp.bytes(seed, range.guestOffset(), length, version);
    ByteOracle.Change change = oracle.writing(range.guestOffset(), bytes);
    image.write(pieces(bytes), range.guestOffset(), fua);
    if (fua) {
      change.doneDurably();
    } else {
      change.done();
    }
  }

  /** Compresses the clusters that a range touches. */
  private void compress(Range range) throws IOException {
    int cluster = image.clusterSize();
    long start = range.guestOffset() / cluster * cluster;
    long end = (range.guestOffset() + range.length() + cluster - 1) / cluster * cluster;
    end = Math.min(image.size(), end);
    Range whole = new Range(start, end - start);
    say("compress", whole);
    byte[] bytes = Stamp.bytes(seed, start, (int) whole.length(), version);
    for (int from = 0; from < bytes.length; from += cluster) {
      Stamp.roughen(bytes, from, Math.min(bytes.length, from + cluster), random);
    }
    ByteOracle.Change change = oracle.writing(start, bytes);
    ByteBuffer src = ByteBuffer.allocateDirect(bytes.length).put(bytes).flip();
    image.writeCompressed(random.nextBoolean() ? src : ByteBuffer.wrap(bytes), start);
    change.done();
  }

  private ByteBuffer[] pieces(byte[] bytes) {
    List<ByteBuffer> pieces = new ArrayList<>();
    int parts = random.nextInt(3) == 0 ? 1 + random.nextInt(4) : 1;
    for (int from = 0; from < bytes.length || pieces.isEmpty(); ) {
      int left = bytes.length - from;
      int length = --parts <= 0 ? left : random.nextInt(left + 1);
      ByteBuffer piece =
          random.nextBoolean() ? ByteBuffer.allocate(length) : ByteBuffer.allocateDirect(length);
      pieces.add(piece.put(bytes, from, length).flip());
      from += length;
    }
    return pieces.toArray(ByteBuffer[]::new);
  }

  private void read(Range range) throws IOException {
    say("read", range);
    oracle.check(range.guestOffset(), bytes(range));
  }

  private byte[] bytes(Range range) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate((int) range.length());
    if (!image.readNow(bytes, range.guestOffset())) {
      image.read(bytes.clear(), range.guestOffset());
    }
    return bytes.array();
  }

  private void zero(Range range, boolean mayUnmap) throws IOException {
    say(mayUnmap ? "zero" : "zero keeping space", range);
    ByteOracle.Change change = oracle.zeroing(range.guestOffset(), range.length());
    boolean fua = random.nextInt(16) == 0;
    image.writeZeroes(range.guestOffset(), range.length(), mayUnmap, fua);
    if (fua) {
      change.doneDurably();
    } else {
      change.done();
    }
  }

  private void discard(Range range, Discard kind) throws IOException {
    say("discard " + kind, range);
    long offset = range.guestOffset();
    ByteOracle.Change change =
        switch (kind) {
          case TO_ANY -> oracle.loosening(offset, range.length());
          case TO_BACKING -> oracle.uncovering(offset, range.length());
          default -> oracle.zeroing(offset, range.length());
        };
    Range done = image.discard(offset, range.length(), kind);
    if (done.length() > 0
        && (done.guestOffset() < offset
            || done.guestOffset() + done.length() > offset + range.length())) {
      throw new AssertionError("asked for %s, but did %s".formatted(range, done));
    }
    if (kind != Discard.TO_ANY) {
      change.done(done);
    } else if (done.length() > 0) {
      oracle.observed(done.guestOffset(), bytes(done));
    }
  }

  private void flush() throws IOException {
    say("flush");
    long begun = oracle.flushing();
    image.flush();
    oracle.flushed(begun);
  }

  private void resize(long wanted) throws IOException {
    resize("resize", wanted, size -> image.resize(size, Preallocation.OFF, true));
  }

  private void preallocate() throws IOException {
    long wanted = image.size() + (random.nextInt(maxSectors() / 4 + 1) + 1L) * SECTOR;
    switch (random.nextInt(4)) {
      case 0 ->
          resize("grow reserving", wanted, size -> image.resize(size, Preallocation.FALLOC, false));
      case 1 ->
          resize("grow writing", wanted, size -> image.resize(size, Preallocation.FULL, false));
      default -> resize("grow mapped", wanted, size -> image.growMapped(size));
    }
  }

  /** Something that sets the size. */
  private interface Resize {
    void to(long size) throws IOException;
  }

  private void resize(String what, long wanted, Resize how) throws IOException {
    long size = Math.clamp(wanted, smallest, maxSize) / SECTOR * SECTOR;
    say("%s from 0x%x to 0x%x".formatted(what, image.size(), size));
    ByteOracle.Change change = oracle.resizing(size);
    how.to(size);
    if (resizesAreDurable) {
      change.doneDurably();
    } else {
      change.done();
    }
  }

  private void reopen() throws IOException {
    say("close and open");
    close();
    image = opener.open();
    if (image.size() != oracle.size()) {
      throw new AssertionError("size is %d, not %d".formatted(image.size(), oracle.size()));
    }
  }

  /** Closes the image. */
  public void close() throws IOException {
    long begun = oracle.flushing();
    image.close();
    oracle.flushed(begun);
  }

  private void reserve(Range range, boolean commit) throws IOException {
    boolean overwrite = random.nextBoolean();
    say((commit ? "reserve and write" : "reserve and give back"), range);
    Mapping before = image.map(range.guestOffset(), range.length());
    try (WritableRun run = image.reserve(range.guestOffset(), range.length(), overwrite)) {
      if (run.length() < 1 || run.length() > range.length()) {
        throw new AssertionError("reserved %d bytes".formatted(run.length()));
      }
      int length = (int) run.length();
      if (!overwrite) {
        length = 1 + random.nextInt(length);
      }
      byte[] bytes = Stamp.bytes(seed, range.guestOffset(), length, version);
      if (commit) {
        ByteOracle.Change change = oracle.writing(range.guestOffset(), bytes);
        run.storage().write(ByteBuffer.wrap(bytes), run.hostOffset());
        run.commit();
        change.done();
      } else if (usedAgain(before, run, range)) {
        // The place may still be the old data's on the disk, until the zeroes are flushed.
        ByteOracle.Change change = oracle.writing(range.guestOffset(), bytes);
        run.storage().write(ByteBuffer.wrap(bytes), run.hostOffset());
        change.undone();
      } else if (!isData(before)) {
        run.storage().write(ByteBuffer.wrap(bytes), run.hostOffset());
      }
    }
  }

  /** Whether bytes lie where they could be overwritten, encrypted or not. */
  private static boolean isData(Mapping mapping) {
    return mapping instanceof Mapping.Data
        || (mapping instanceof Mapping.Encoded encoded && encoded.encoding().equals("luks"));
  }

  /** Whether a run lies where the guest's bytes were, or could be: always so in a data file. */
  private static boolean usedAgain(Mapping before, WritableRun run, Range range) {
    return switch (before) {
      case Mapping.Data _ -> false;
      case Mapping.Encoded _ when isData(before) -> false;
      case Mapping.Zero zero when zero.preallocatedHostOffset() >= 0 -> true;
      default -> run.hostOffset() == range.guestOffset();
    };
  }

  private void say(String what, Range range) {
    say("%s 0x%x+0x%x".formatted(what, range.guestOffset(), range.length()));
  }

  private void say(String what) {
    if (log.size() == REMEMBERED) {
      log.removeFirst();
    }
    log.add(version + ": " + what);
  }
}
