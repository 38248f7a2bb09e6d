package dev.imago.testing;

import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A disk in memory whose machine can crash at any instant. For every 512-byte sector it keeps all
 * writes (zeroes, punched holes and cut ends included) since the last flush, in order; a crash
 * leaves any prefix of them, for each sector on its own, and for the size as well.
 *
 * <p>A flush promises what {@link Storage#flush} promises and nothing more: what other threads
 * write while it runs stays pending.
 */
public final class CrashStorage implements Storage {
  /** What reaches the disk whole or not at all, in bytes. */
  public static final int SECTOR = 512;

  /** Stands for the size where a {@link Keep} is asked. */
  static final long SIZE = -2;

  private static final byte[] ZEROES = new byte[SECTOR];

  /** Says how many of a sector's pending writes survive. */
  interface Keep {
    int of(long sector, int pending);
  }

  private record Version(byte[] bytes, long number) {}

  private record Length(long bytes, long number) {}

  private final CrashGroup group;
  private final String name;
  private final Map<Long, byte[]> durable;
  private final Map<Long, List<Version>> pending = new HashMap<>();
  private final List<Length> pendingSizes = new ArrayList<>();
  private long durableSize;
  private long size;
  private long number;
  private long callBegan;
  private int discardUnit = SECTOR;
  private boolean zeroesCheaply = true;
  private boolean closed;
  private @Nullable Consumer<CrashStorage> onClose;

  CrashStorage(CrashGroup group, String name, CrashImage content) {
    this.group = group;
    this.name = name;
    this.durable = new HashMap<>(content.sectors());
    this.durableSize = content.size();
    this.size = content.size();
  }

  /**
   * Sets how this disk behaves where it has the choice.
   *
   * @param discardUnit only whole units of this many bytes are given back; 0: nothing ever is
   * @param zeroesCheaply what {@link #zeroesCheaply()} says
   */
  public CrashStorage behaving(int discardUnit, boolean zeroesCheaply) {
    this.discardUnit = discardUnit;
    this.zeroesCheaply = zeroesCheaply;
    return this;
  }

  /** Has {@code judge} called at each first {@link #close()}, when crashing is still possible. */
  public CrashStorage onClose(Consumer<CrashStorage> judge) {
    this.onClose = judge;
    return this;
  }

  /** Opens it again after a close; nothing was lost by that. */
  public CrashStorage reopen() {
    synchronized (group) {
      closed = false;
      return this;
    }
  }

  /** The machine that it belongs to. */
  public CrashGroup group() {
    return group;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean readOnly() {
    return false;
  }

  @Override
  public int requestAlignment() {
    return 1;
  }

  @Override
  public boolean zeroesCheaply() {
    return zeroesCheaply;
  }

  @Override
  public void read(ByteBuffer dst, long hostOffset) throws IOException {
    synchronized (group) {
      enter(StorageCall.READ);
      for (long at = hostOffset; dst.hasRemaining(); ) {
        int in = (int) (at % SECTOR);
        int length = Math.min(dst.remaining(), SECTOR - in);
        dst.put(current(at / SECTOR), in, length);
        at += length;
      }
    }
  }

  @Override
  public void write(ByteBuffer src, long hostOffset) throws IOException {
    synchronized (group) {
      begin();
      put(src, hostOffset);
      group.observe(this, StorageCall.WRITE);
    }
  }

  @Override
  public void write(ByteBuffer[] srcs, long hostOffset) throws IOException {
    synchronized (group) {
      begin();
      long at = hostOffset;
      for (ByteBuffer src : srcs) {
        int length = src.remaining();
        put(src, at);
        at += length;
      }
      group.observe(this, StorageCall.WRITEV);
    }
  }

  @Override
  public void writeZeroes(long hostOffset, long length, ZeroMode mode) throws IOException {
    synchronized (group) {
      begin();
      zero(hostOffset, length);
      grow(hostOffset + length);
      group.observe(this, StorageCall.ZERO);
    }
  }

  @Override
  public boolean discard(long hostOffset, long length) throws IOException {
    synchronized (group) {
      begin();
      boolean whole = false;
      if (discardUnit > 0) {
        long end = Math.min(hostOffset + length, size);
        long from = (hostOffset + discardUnit - 1) / discardUnit * discardUnit;
        long to = end == size ? end : end / discardUnit * discardUnit;
        if (from < to) {
          zero(from, to - from);
        }
        whole = from == hostOffset && to == end || hostOffset >= size;
      }
      group.observe(this, StorageCall.DISCARD);
      return whole;
    }
  }

  @Override
  public Run run(long hostOffset, long maxLength) throws IOException {
    synchronized (group) {
      requireOpen();
      long sector = hostOffset / SECTOR;
      boolean data = current(sector) != ZEROES;
      long end = Math.min(hostOffset + maxLength, size);
      long next = sector + 1;
      while (next * SECTOR < end && (current(next) != ZEROES) == data) {
        next++;
      }
      return new Run(data, Math.min(next * SECTOR, end) - hostOffset);
    }
  }

  @Override
  public long size() throws IOException {
    synchronized (group) {
      requireOpen();
      return size;
    }
  }

  @Override
  public long allocatedBytes() {
    synchronized (group) {
      TreeSet<Long> all = new TreeSet<>(durable.keySet());
      all.addAll(pending.keySet());
      return all.stream().filter(sector -> current(sector) != ZEROES).count() * SECTOR;
    }
  }

  @Override
  public void resize(long newSize, Preallocation preallocation) throws IOException {
    synchronized (group) {
      begin();
      if (newSize < size) {
        zero(newSize, size - newSize);
      }
      if (newSize != size) {
        size = newSize;
        pendingSizes.add(new Length(newSize, ++number));
      }
      group.observe(this, StorageCall.RESIZE);
    }
  }

  @Override
  public void flush() throws IOException {
    long upTo;
    synchronized (group) {
      enter(StorageCall.FLUSH);
      upTo = number;
    }
    Thread.yield();
    synchronized (group) {
      requireOpen();
      for (Iterator<Map.Entry<Long, List<Version>>> i = pending.entrySet().iterator();
          i.hasNext(); ) {
        Map.Entry<Long, List<Version>> entry = i.next();
        List<Version> versions = entry.getValue();
        int safe = 0;
        while (safe < versions.size() && versions.get(safe).number <= upTo) {
          safe++;
        }
        if (safe > 0) {
          durable.put(entry.getKey(), versions.get(safe - 1).bytes);
          versions.subList(0, safe).clear();
        }
        if (versions.isEmpty()) {
          i.remove();
        }
      }
      while (!pendingSizes.isEmpty() && pendingSizes.getFirst().number <= upTo) {
        durableSize = pendingSizes.removeFirst().bytes;
      }
    }
  }

  @Override
  public void close() {
    Consumer<CrashStorage> judge;
    synchronized (group) {
      if (closed) {
        return;
      }
      group.observe(this, StorageCall.CLOSE);
      judge = onClose;
    }
    if (judge != null) {
      judge.accept(this);
    }
    synchronized (group) {
      closed = true;
    }
  }

  /** What is kept now, as if the machine had been shut down in order. */
  public CrashImage content() {
    synchronized (group) {
      return crash((sector, versions) -> versions);
    }
  }

  /** Called under the group's lock. */
  CrashImage crash(Keep keep) {
    int sizes = pendingSizes.isEmpty() ? 0 : keep.of(SIZE, pendingSizes.size());
    long left = sizes == 0 ? durableSize : pendingSizes.get(sizes - 1).bytes;
    Map<Long, byte[]> sectors = new HashMap<>(durable);
    for (long sector : pendingSectors()) {
      List<Version> versions = pending.getOrDefault(sector, List.of());
      int kept = keep.of(sector, versions.size());
      if (kept > 0) {
        sectors.put(sector, versions.get(kept - 1).bytes);
      }
    }
    sectors.entrySet().removeIf(e -> e.getValue() == ZEROES || e.getKey() * SECTOR >= left);
    long in = left % SECTOR;
    if (in != 0) {
      sectors.computeIfPresent(left / SECTOR, (sector, bytes) -> cut(bytes, (int) in));
    }
    return new CrashImage(sectors, left);
  }

  /** In ascending order, so that a seed decides everything. Called under the group's lock. */
  TreeSet<Long> pendingSectors() {
    return new TreeSet<>(pending.keySet());
  }

  private static byte[] cut(byte[] bytes, int length) {
    byte[] shorter = new byte[SECTOR];
    System.arraycopy(bytes, 0, shorter, 0, length);
    return shorter;
  }

  private void begin() throws IOException {
    group.enter(this);
    requireOpen();
    callBegan = number;
  }

  private void enter(StorageCall call) throws IOException {
    begin();
    group.observe(this, call);
  }

  private void requireOpen() throws IOException {
    if (closed) {
      throw new IOException(name + ": used after it was closed");
    }
  }

  private byte[] current(long sector) {
    List<Version> versions = pending.get(sector);
    return versions != null ? versions.getLast().bytes : durable.getOrDefault(sector, ZEROES);
  }

  private void put(ByteBuffer src, long hostOffset) {
    long at = hostOffset;
    while (src.hasRemaining()) {
      int in = (int) (at % SECTOR);
      int length = Math.min(src.remaining(), SECTOR - in);
      byte[] bytes = length == SECTOR ? new byte[SECTOR] : current(at / SECTOR).clone();
      src.get(bytes, in, length);
      append(at / SECTOR, bytes);
      at += length;
    }
    grow(at);
  }

  private void zero(long hostOffset, long length) {
    long end = hostOffset + length;
    for (long at = hostOffset; at < end; ) {
      int in = (int) (at % SECTOR);
      int part = (int) Math.min(end - at, SECTOR - in);
      byte[] old = current(at / SECTOR);
      if (old != ZEROES) {
        byte[] bytes = ZEROES;
        if (part < SECTOR) {
          bytes = old.clone();
          Arrays.fill(bytes, in, in + part, (byte) 0);
        }
        append(at / SECTOR, bytes);
      }
      at += part;
    }
  }

  /** One call makes one version of a sector, in however many buffers its bytes came. */
  private void append(long sector, byte[] bytes) {
    List<Version> versions = pending.computeIfAbsent(sector, s -> new ArrayList<>(2));
    if (!versions.isEmpty() && versions.getLast().number > callBegan) {
      versions.removeLast();
    }
    versions.add(new Version(bytes, ++number));
  }

  private void grow(long end) {
    if (end > size) {
      size = end;
      pendingSizes.add(new Length(end, ++number));
    }
  }
}
