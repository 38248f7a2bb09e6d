package dev.imago.testing;

import dev.imago.image.Image;
import dev.imago.image.Image.Range;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;

/**
 * Knows what a disk may hold. For each 512-byte guest sector it keeps the value of the last flush
 * and every value given to it since; a running disk must show the latest, a crashed one any.
 *
 * <p>Say what is about to be done <em>before</em> doing it, and {@link Change#done} after: what
 * failed or never returned stays possible. Safe for many threads as long as each sector has one
 * thread that changes it.
 */
public final class ByteOracle {
  /** The unit of what is kept or lost, in bytes. */
  public static final int SECTOR = 512;

  private static final byte[] ZEROES = new byte[SECTOR];
  private static final int CHUNK = 1 << 18;
  private static final long NEVER = Long.MAX_VALUE;

  private static final class Version {
    private final byte[] bytes;
    private long doneAt;

    Version(byte[] bytes, long doneAt) {
      this.bytes = bytes;
      this.doneAt = doneAt;
    }

    /** What is done does not change any more. */
    Version copy() {
      return doneAt == NEVER ? new Version(bytes, NEVER) : this;
    }
  }

  private static final class Size {
    private final long bytes;
    private long doneAt;

    Size(long bytes, long doneAt) {
      this.bytes = bytes;
      this.doneAt = doneAt;
    }
  }

  private final byte[] behind;
  private final Map<Long, List<Version>> sectors = new HashMap<>();
  private final Set<Long> unflushed = new HashSet<>();
  private final List<Size> sizes = new ArrayList<>();
  private long clock;

  /** A disk of {@code size} bytes of zeroes. */
  public ByteOracle(long size) {
    this(size, new byte[0]);
  }

  /** A disk that shows what is behind it, and zeroes past the end of that. */
  public ByteOracle(long size, byte[] behind) {
    this.behind = behind;
    sizes.add(new Size(size, 0));
  }

  /** Something that is being done to the disk. */
  public final class Change {
    private final Map<Long, List<Version>> made = new HashMap<>();
    private final List<Size> sizesMade = new ArrayList<>();

    /** It has returned. */
    public void done() {
      synchronized (ByteOracle.this) {
        long now = ++clock;
        made.values().forEach(versions -> versions.forEach(v -> v.doneAt = now));
        sizesMade.forEach(size -> size.doneAt = now);
      }
    }

    /** It has returned, and promised to survive. */
    public void doneDurably() {
      synchronized (ByteOracle.this) {
        done();
        made.forEach(
            (sector, versions) -> {
              List<Version> all = versions(sector);
              all.subList(0, Math.max(0, all.indexOf(versions.getFirst()))).clear();
            });
        if (!sizesMade.isEmpty()) {
          sizes.subList(0, Math.max(0, sizes.indexOf(sizesMade.getFirst()))).clear();
        }
      }
    }

    /** It has returned, and was done to this range only. */
    public void done(Range range) {
      synchronized (ByteOracle.this) {
        long first = range.guestOffset() / SECTOR;
        long last = (range.guestOffset() + range.length() + SECTOR - 1) / SECTOR;
        long end = range.length() == 0 ? first : last;
        made.entrySet()
            .removeIf(
                e -> {
                  boolean outside = e.getKey() < first || e.getKey() >= end;
                  if (outside) {
                    versions(e.getKey()).removeAll(e.getValue());
                  }
                  return outside;
                });
        done();
      }
    }

    /** It was undone: a running disk does not show it, but a crash before the next flush may. */
    public void undone() {
      synchronized (ByteOracle.this) {
        made.forEach(
            (sector, versions) -> {
              List<Version> all = versions(sector);
              all.removeAll(versions);
              all.addAll(lastDone(all, NEVER - 1), versions);
            });
      }
    }

    private void add(long sector, byte[] bytes) {
      Version version = new Version(bytes, NEVER);
      versions(sector).add(version);
      made.computeIfAbsent(sector, s -> new ArrayList<>(2)).add(version);
      unflushed.add(sector);
    }
  }

  /** The size that the disk should have, in bytes. */
  public synchronized long size() {
    return sizes.stream().filter(s -> s.doneAt != NEVER).toList().getLast().bytes;
  }

  /** These bytes are about to be written. */
  public synchronized Change writing(long guestOffset, byte[] bytes) {
    Change change = new Change();
    for (int from = 0; from < bytes.length; ) {
      long at = guestOffset + from;
      int in = (int) (at % SECTOR);
      int length = Math.min(bytes.length - from, SECTOR - in);
      for (Version old : live(at / SECTOR)) {
        byte[] sector = old.bytes.clone();
        System.arraycopy(bytes, from, sector, in, length);
        change.add(at / SECTOR, sector);
        if (length == SECTOR) {
          break;
        }
      }
      from += length;
    }
    return change;
  }

  /** This range is about to become zero. */
  public synchronized Change zeroing(long guestOffset, long length) {
    return writing(guestOffset, new byte[Math.toIntExact(length)]);
  }

  /** This range is about to show what is behind. */
  public synchronized Change uncovering(long guestOffset, long length) {
    Change change = new Change();
    for (long sector : whole(guestOffset, length)) {
      change.add(sector, behind(sector));
    }
    return change;
  }

  /**
   * This range is about to become anything of zero, old or what is behind. Do not call {@link
   * Change#done} but {@link #observed}.
   */
  public synchronized Change loosening(long guestOffset, long length) {
    Change change = uncovering(guestOffset, length);
    for (long sector : whole(guestOffset, length)) {
      change.add(sector, ZEROES);
    }
    return change;
  }

  /** What a range of whole sectors was found to hold is what it must hold from now on. */
  public synchronized void observed(long guestOffset, byte[] bytes) {
    check(guestOffset, bytes);
    long now = ++clock;
    for (int from = 0; from < bytes.length; from += SECTOR) {
      long sector = (guestOffset + from) / SECTOR;
      byte[] seen = Arrays.copyOfRange(bytes, from, from + SECTOR);
      versions(sector).add(new Version(seen, now));
      unflushed.add(sector);
    }
  }

  /** The disk is about to get this size, in bytes. */
  public synchronized Change resizing(long size) {
    Change change = new Change();
    long old = size();
    long longest = sizes.stream().mapToLong(s -> s.bytes).max().orElseThrow();
    for (long sector = size / SECTOR; sector < (old + SECTOR - 1) / SECTOR; sector++) {
      change.add(sector, ZEROES);
      change.add(sector, behind(sector));
    }
    for (long sector = old / SECTOR; sector < (size + SECTOR - 1) / SECTOR; sector++) {
      if (sector >= longest / SECTOR) {
        sectors.put(sector, new ArrayList<>(List.of(new Version(ZEROES, 0))));
      } else {
        change.add(sector, ZEROES);
      }
    }
    Size made = new Size(size, NEVER);
    sizes.add(made);
    change.sizesMade.add(made);
    return change;
  }

  /** The disk is another one from now on, durably. */
  public synchronized void become(byte[] disk) {
    long longest = sizes.stream().mapToLong(s -> s.bytes).max().orElseThrow();
    sizes.clear();
    sizes.add(new Size(disk.length, 0));
    unflushed.clear();
    for (long sector = 0;
        sector < (Math.max(longest, disk.length) + SECTOR - 1) / SECTOR;
        sector++) {
      int at = (int) Math.min(disk.length, sector * SECTOR);
      byte[] bytes =
          Arrays.copyOf(Arrays.copyOfRange(disk, at, Math.min(disk.length, at + SECTOR)), SECTOR);
      sectors.put(sector, known(bytes));
    }
  }

  /** A flush is about to be called. What is returned is for {@link #flushed}. */
  public synchronized long flushing() {
    return clock;
  }

  /** A flush has returned: everything that was done before it began is there for ever. */
  public synchronized void flushed(long begun) {
    unflushed.removeIf(
        sector -> {
          List<Version> versions = versions(sector);
          versions.subList(0, lastDone(versions, begun)).clear();
          return versions.size() == 1;
        });
    int last = 0;
    for (int i = 0; i < sizes.size(); i++) {
      if (sizes.get(i).doneAt <= begun) {
        last = i;
      }
    }
    sizes.subList(0, last).clear();
  }

  /** Checks what was read from a running disk while nobody else was changing this range. */
  public synchronized void check(long guestOffset, byte[] bytes) {
    for (int from = 0; from < bytes.length; ) {
      long at = guestOffset + from;
      int in = (int) (at % SECTOR);
      int length = Math.min(bytes.length - from, SECTOR - in);
      int start = from;
      List<Version> allowed = live(at / SECTOR);
      if (allowed.stream()
          .noneMatch(v -> Arrays.equals(v.bytes, in, in + length, bytes, start, start + length))) {
        byte[] padded = new byte[SECTOR];
        System.arraycopy(bytes, from, padded, in, length);
        throw new AssertionError(mismatch(at / SECTOR, in, length, padded, allowed));
      }
      from += length;
    }
  }

  /**
   * Whether a whole sector's bytes are what a running disk may show, now or since its last flush.
   */
  public synchronized boolean possible(long sector, byte[] bytes) {
    return peek(sector).stream().anyMatch(v -> Arrays.equals(v.bytes, bytes));
  }

  /** Reads the whole of a running disk. */
  public void verify(Image image) throws IOException {
    if (image.size() != size()) {
      throw new AssertionError("size is %d, not %d".formatted(image.size(), size()));
    }
    compare(image, this::live);
  }

  /**
   * Reads the whole of a disk after a crash.
   *
   * @return an oracle that expects exactly what was found
   */
  public ByteOracle verifyCrashed(Image image) throws IOException {
    List<Long> allowed = sizes.stream().map(s -> s.bytes).toList();
    if (!allowed.contains(image.size())) {
      throw new AssertionError("size is %d, not one of %s".formatted(image.size(), allowed));
    }
    ByteOracle settled = new ByteOracle(image.size(), behind);
    compare(image, this::peek).forEach((s, v) -> settled.sectors.put(s, known(v)));
    return settled;
  }

  private static List<Version> known(byte[] bytes) {
    return new ArrayList<>(List.of(new Version(bytes, 0)));
  }

  /** As it is at this moment; what is done later does not change it. */
  public synchronized ByteOracle copy() {
    ByteOracle copy = new ByteOracle(0, behind);
    copy.sizes.clear();
    sizes.forEach(s -> copy.sizes.add(new Size(s.bytes, s.doneAt)));
    sectors.forEach(
        (sector, versions) -> {
          List<Version> copies = new ArrayList<>(versions.size());
          versions.forEach(v -> copies.add(v.copy()));
          copy.sectors.put(sector, copies);
        });
    copy.unflushed.addAll(unflushed);
    copy.clock = clock;
    return copy;
  }

  /** What the disk should hold, for comparing with a raw file. Only when nothing is in doubt. */
  public synchronized byte[] expected() {
    byte[] all = new byte[Math.toIntExact(size())];
    for (long sector = 0; sector * SECTOR < all.length; sector++) {
      byte[] bytes = live(sector).getFirst().bytes;
      int at = Math.toIntExact(sector * SECTOR);
      System.arraycopy(bytes, 0, all, at, Math.min(SECTOR, all.length - at));
    }
    return all;
  }

  private interface Allowed {
    List<Version> of(long sector);
  }

  private Map<Long, byte[]> compare(Image image, Allowed allowed) throws IOException {
    Map<Long, byte[]> found = new HashMap<>();
    List<String> wrong = new ArrayList<>();
    byte[] chunk = new byte[CHUNK];
    for (long at = 0; at < image.size(); at += CHUNK) {
      int length = (int) Math.min(CHUNK, image.size() - at);
      image.read(ByteBuffer.wrap(chunk, 0, length), at);
      Arrays.fill(chunk, length, CHUNK, (byte) 0);
      for (int from = 0; from < length; from += SECTOR) {
        long sector = (at + from) / SECTOR;
        int valid = Math.min(SECTOR, length - from);
        byte[] bytes = Arrays.copyOfRange(chunk, from, from + SECTOR);
        Predicate<Version> same = v -> Arrays.equals(v.bytes, 0, valid, bytes, 0, valid);
        List<Version> versions = allowed.of(sector);
        if (versions.stream().noneMatch(same)) {
          wrong.add(mismatch(sector, 0, valid, bytes, versions));
        }
        found.put(sector, Arrays.equals(bytes, ZEROES) ? ZEROES : bytes);
      }
    }
    if (!wrong.isEmpty()) {
      String first = String.join("\n", wrong.subList(0, Math.min(5, wrong.size())));
      throw new AssertionError("%d sectors are wrong:%n%s".formatted(wrong.size(), first));
    }
    return found;
  }

  private static String mismatch(
      long sector, int in, int length, byte[] found, List<Version> allowed) {
    StringBuilder text = new StringBuilder();
    text.append(
        "guest sector 0x%x (offset 0x%x, bytes %d to %d) holds %s; allowed:"
            .formatted(sector, sector * SECTOR, in, in + length, Stamp.describe(found)));
    allowed.forEach(v -> text.append("\n    ").append(Stamp.describe(v.bytes)));
    return text.toString();
  }

  /** As {@link #versions}, for looking only. */
  private List<Version> peek(long sector) {
    List<Version> versions = sectors.get(sector);
    return versions != null ? versions : known(behind(sector));
  }

  private List<Version> versions(long sector) {
    return sectors.computeIfAbsent(sector, s -> known(behind(s)));
  }

  /** What a running disk may show: the last that is done, and all that is under way after it. */
  private List<Version> live(long sector) {
    List<Version> versions = peek(sector);
    return List.copyOf(versions.subList(lastDone(versions, NEVER - 1), versions.size()));
  }

  /** Several versions done at one time are one write upon several possible old values. */
  private static int lastDone(List<Version> versions, long upTo) {
    int last = 0;
    for (int i = 0; i < versions.size(); i++) {
      long doneAt = versions.get(i).doneAt;
      if (doneAt <= upTo && (i == 0 || doneAt != versions.get(i - 1).doneAt)) {
        last = i;
      }
    }
    return last;
  }

  private byte[] behind(long sector) {
    long from = sector * SECTOR;
    if (from >= behind.length) {
      return ZEROES;
    }
    byte[] bytes = new byte[SECTOR];
    System.arraycopy(behind, (int) from, bytes, 0, (int) Math.min(SECTOR, behind.length - from));
    return bytes;
  }

  private static List<Long> whole(long guestOffset, long length) {
    List<Long> all = new ArrayList<>();
    for (long s = (guestOffset + SECTOR - 1) / SECTOR; (s + 1) * SECTOR <= guestOffset + length; ) {
      all.add(s++);
    }
    return all;
  }
}
