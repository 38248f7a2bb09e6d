package dev.imago.filter;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * Limits that several images or storages share: bytes and requests a second, of reads, writes, or
 * both together. Whatever uses the group waits here before each request.
 *
 * <p>A limit is a bucket of tokens that fills at its rate. A request may start when no bucket that
 * concerns it is in debt, and then takes its tokens, even more than there are: a request that is
 * larger than the bucket still goes as a whole, and who comes next waits for longer.
 *
 * <p>Safe for all threads. An interrupt ends no wait; the thread's status is kept.
 */
public final class ThrottleGroup {
  private static final double NANOS = 1e9;

  /** How much may go at once where nothing else is said: that of a tenth of a second. */
  private static final double SLACK = 0.1;

  /** Which requests a limit is about. */
  public enum Kind {
    /** Reads and writes. */
    TOTAL,
    /** Reads alone. */
    READ,
    /** Writes, writes of zeroes and discards. */
    WRITE;

    private boolean concerns(boolean write) {
      return this == TOTAL || write == (this == WRITE);
    }
  }

  /**
   * One limit.
   *
   * @param bytes whether bytes are counted; otherwise requests are
   * @param average so many a second in the long run, above 0
   * @param burst so many a second for {@code burstSeconds} after a pause, not below {@code
   *     average}; 0 for no burst
   * @param burstSeconds at least 1
   */
  public record Limit(Kind kind, boolean bytes, long average, long burst, long burstSeconds) {
    /** Checks the numbers. */
    public Limit {
      if (average <= 0 || burstSeconds < 1 || (burst != 0 && burst < average)) {
        throw new IllegalArgumentException(
            "no such limit: %d a second, %d for %d seconds"
                .formatted(average, burst, burstSeconds));
      }
    }
  }

  /** Tokens for one rate. */
  private static final class Bucket {
    private final Kind kind;
    private final boolean bytes;
    private final double perNano;
    private final double capacity;
    private double tokens;

    Bucket(Limit limit, double perSecond, double capacity) {
      this.kind = limit.kind();
      this.bytes = limit.bytes();
      this.perNano = perSecond / NANOS;
      this.capacity = capacity;
      this.tokens = capacity;
    }

    void fill(long nanos) {
      tokens = Math.min(capacity, tokens + nanos * perNano);
    }

    long nanosOfDebt() {
      return tokens >= 0 ? 0 : (long) Math.ceil(-tokens / perNano);
    }
  }

  private final List<Bucket> buckets = new ArrayList<>();
  private final long requestBytes;
  private long filled = System.nanoTime();

  /**
   * Limits that nobody has come near to yet.
   *
   * @param requestBytes a request longer than this counts as several; 0 if each counts as one
   */
  public ThrottleGroup(List<Limit> limits, long requestBytes) {
    if (requestBytes < 0) {
      throw new IllegalArgumentException("requests of " + requestBytes + " bytes");
    }
    this.requestBytes = requestBytes;
    for (Limit limit : limits) {
      if (limit.burst() == 0) {
        buckets.add(new Bucket(limit, limit.average(), limit.average() * SLACK));
        continue;
      }
      double whole = (double) limit.burst() * limit.burstSeconds();
      buckets.add(new Bucket(limit, limit.average(), whole));
      if (limit.burstSeconds() > 1) {
        buckets.add(new Bucket(limit, limit.burst(), limit.burst() * SLACK));
      }
    }
  }

  /**
   * Waits until a request may start.
   *
   * @param length in bytes
   */
  public void await(boolean write, long length) {
    boolean interrupted = false;
    for (long wait; (wait = enter(write, length, System.nanoTime())) > 0; ) {
      LockSupport.parkNanos(this, wait);
      interrupted |= Thread.interrupted();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Takes the tokens, or says for how many nanoseconds there will be none. */
  synchronized long enter(boolean write, long length, long now) {
    long passed = Math.max(now - filled, 0);
    filled += passed;
    long wait = 0;
    for (Bucket bucket : buckets) {
      bucket.fill(passed);
      if (bucket.kind.concerns(write)) {
        wait = Math.max(wait, bucket.nanosOfDebt());
      }
    }
    if (wait == 0) {
      for (Bucket bucket : buckets) {
        if (bucket.kind.concerns(write)) {
          bucket.tokens -= bucket.bytes ? length : requests(length);
        }
      }
    }
    return wait;
  }

  private double requests(long length) {
    return requestBytes == 0 ? 1 : Math.max(1, (double) length / requestBytes);
  }
}
