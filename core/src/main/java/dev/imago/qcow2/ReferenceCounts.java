package dev.imago.qcow2;

import java.io.IOException;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A count for each host cluster, in little memory: chunks of clusters are there once one of them is
 * counted, with 2 bits a cluster until one needs 8 bits or 32. Counts stop at {@link
 * Integer#MAX_VALUE}.
 */
final class ReferenceCounts implements RefcountRebuild.Counts {
  /** Clusters in a chunk. */
  static final int CHUNK = 1 << 10;

  private static final int CHUNK_BITS = 10;
  private static final int NARROW_BYTES = CHUNK / 4;
  private static final int NARROW_MAX = 3;
  private static final int BYTE_MAX = 255;
  private static final int OVERHEAD = 32;
  private static final long MAX_DENSE_CHUNKS = 4 << 20;

  private final long clusters;
  private final long budget;
  private long used;
  private boolean shared;

  /** By chunk number; null if there would be too many. */
  private final @Nullable Object @Nullable [] dense;

  private final TreeMap<Long, Object> sparse = new TreeMap<>();

  /** The chunk of {@link #sparse} that was asked for last. */
  private long lastNumber = -1;

  private @Nullable Object lastChunk;

  /** The counts need more memory than allowed: there are references all over a huge, empty file. */
  static final class TooScatteredException extends IOException {
    private static final long serialVersionUID = 1L;

    private final long budget;

    private TooScatteredException(long budget) {
      super("references are too scattered to be counted");
      this.budget = budget;
    }

    /** What is wrong, in words. */
    String problem() {
      return "references are too scattered to be counted in %d MiB".formatted(budget >> 20);
    }
  }

  /**
   * All counts are 0.
   *
   * @param clusters how many there can be
   * @param budget most bytes to use
   */
  ReferenceCounts(long clusters, long budget) {
    this.clusters = clusters;
    this.budget = budget;
    long chunks = (clusters >>> CHUNK_BITS) + 1;
    dense = chunks <= MAX_DENSE_CHUNKS ? new Object[(int) chunks] : null;
  }

  /** Clusters from 0 on that can be counted. */
  long clusters() {
    return clusters;
  }

  /** Whether any cluster was ever counted more than once. */
  boolean shared() {
    return shared;
  }

  /** The count of a cluster. */
  int get(long cluster) {
    Object chunk = chunk(cluster >>> CHUNK_BITS);
    return chunk == null ? 0 : get(chunk, (int) cluster & (CHUNK - 1));
  }

  /** Whether no cluster of the chunk that holds this one was ever counted. */
  boolean chunkIsEmpty(long cluster) {
    return chunk(cluster >>> CHUNK_BITS) == null;
  }

  /** The first cluster, from this one on, of a chunk in which something was counted; or -1. */
  long nextChunk(long cluster) {
    long number = cluster + CHUNK - 1 >>> CHUNK_BITS;
    if (dense != null) {
      for (; number < dense.length; number++) {
        if (dense[(int) number] != null) {
          return number << CHUNK_BITS;
        }
      }
      return -1;
    }
    Map.Entry<Long, Object> next = sparse.ceilingEntry(number);
    return next == null ? -1 : next.getKey() << CHUNK_BITS;
  }

  @Override
  public long next(long from) {
    for (long at = from; at < clusters; at++) {
      if (chunkIsEmpty(at)) {
        at = nextChunk(at);
        if (at < 0) {
          return -1;
        }
      }
      if (get(at) != 0) {
        return at;
      }
    }
    return -1;
  }

  @Override
  public long count(long cluster) {
    return get(cluster);
  }

  /** The cluster behind the last one that is counted. */
  long end() {
    for (long at = clusters - 1; at >= 0; at--) {
      if (get(at) != 0) {
        return at + 1;
      }
    }
    return 0;
  }

  /** Counts {@code times} more references to a cluster. */
  void add(long cluster, int times) throws TooScatteredException {
    set(cluster, (int) Math.min(Integer.MAX_VALUE, (long) get(cluster) + times));
  }

  /**
   * Counts the first reference to a cluster: the quick way for what nearly all clusters are.
   *
   * @return false if nothing was done, because it is not that simple
   */
  boolean addFirst(long cluster) {
    if (chunk(cluster >>> CHUNK_BITS) instanceof byte[] bytes && bytes.length == NARROW_BYTES) {
      int at = (int) cluster >>> 2 & NARROW_BYTES - 1;
      int shift = ((int) cluster & 3) * 2;
      if ((bytes[at] >>> shift & 3) == 0) {
        bytes[at] |= (byte) (1 << shift);
        return true;
      }
    }
    return false;
  }

  /**
   * The counts of the chunk that holds a cluster, 2 bits each, 4 in a byte, the first lowest; null
   * if they are kept in another way.
   */
  byte @Nullable [] narrowChunk(long cluster) {
    return chunk(cluster >>> CHUNK_BITS) instanceof byte[] bytes && bytes.length == NARROW_BYTES
        ? bytes
        : null;
  }

  /** Counts {@code times} more references to each cluster from {@code first} to {@code last}. */
  void addAll(long first, long last, int times) throws TooScatteredException {
    for (long i = first; i <= last; i++) {
      boolean whole = (i & CHUNK - 1) == 0 && i + CHUNK - 1 <= last;
      if (whole && times <= NARROW_MAX && chunkIsEmpty(i)) {
        shared |= times > 1;
        byte[] chunk = new byte[NARROW_BYTES];
        Arrays.fill(chunk, (byte) (times * 0x55));
        put(i >>> CHUNK_BITS, charged(chunk, NARROW_BYTES));
        i += CHUNK - 1;
      } else {
        add(i, times);
      }
    }
  }

  /** Sets a cluster's count. */
  void set(long cluster, int count) throws TooScatteredException {
    long number = cluster >>> CHUNK_BITS;
    int in = (int) cluster & (CHUNK - 1);
    shared |= count > 1;
    Object chunk = chunk(number);
    if (chunk == null) {
      chunk = charged(new byte[NARROW_BYTES], NARROW_BYTES);
      put(number, chunk);
    }
    if (chunk instanceof byte[] bytes) {
      if (bytes.length == NARROW_BYTES && count <= NARROW_MAX) {
        int shift = (in & 3) * 2;
        bytes[in >>> 2] = (byte) (bytes[in >>> 2] & ~(3 << shift) | count << shift);
        return;
      }
      if (bytes.length == CHUNK && count <= BYTE_MAX) {
        bytes[in] = (byte) count;
        return;
      }
      put(number, wider(bytes, count));
      set(cluster, count);
    } else {
      ((int[]) chunk)[in] = count;
    }
  }

  private Object wider(byte[] old, int count) throws TooScatteredException {
    used -= old.length + OVERHEAD;
    if (count <= BYTE_MAX) {
      byte[] bytes = new byte[CHUNK];
      for (int i = 0; i < CHUNK; i++) {
        bytes[i] = (byte) get(old, i);
      }
      return charged(bytes, CHUNK);
    }
    int[] ints = new int[CHUNK];
    for (int i = 0; i < CHUNK; i++) {
      ints[i] = get(old, i);
    }
    return charged(ints, CHUNK * Integer.BYTES);
  }

  private Object charged(Object chunk, int bytes) throws TooScatteredException {
    used += bytes + OVERHEAD + (dense == null ? 2 * OVERHEAD : 0);
    if (used > budget) {
      throw new TooScatteredException(budget);
    }
    return chunk;
  }

  private static int get(Object chunk, int in) {
    if (chunk instanceof byte[] bytes) {
      return bytes.length == NARROW_BYTES
          ? bytes[in >>> 2] >>> (in & 3) * 2 & 3
          : Byte.toUnsignedInt(bytes[in]);
    }
    return ((int[]) chunk)[in];
  }

  private @Nullable Object chunk(long number) {
    if (dense != null) {
      return number < dense.length ? dense[(int) number] : null;
    }
    if (number != lastNumber) {
      lastNumber = number;
      lastChunk = sparse.get(number);
    }
    return lastChunk;
  }

  private void put(long number, Object chunk) {
    if (dense != null) {
      dense[(int) number] = chunk;
    } else {
      sparse.put(number, chunk);
      lastNumber = number;
      lastChunk = chunk;
    }
  }
}
