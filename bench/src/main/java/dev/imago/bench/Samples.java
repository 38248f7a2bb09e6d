package dev.imago.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToLongFunction;

/** What the runs of one program have cost. Times are in milliseconds. */
final class Samples {
  private final List<Child.Cost> runs = new ArrayList<>();

  private long peakKib;

  void add(Child.Cost run) {
    runs.add(run);
  }

  /** The most memory that a run of its own had, in KiB. */
  void peakKib(long peak) {
    peakKib = peak;
  }

  double peakMib() {
    return peakKib / 1024.0;
  }

  double medianWall() {
    return quantile(Child.Cost::wallNanos, 0.5);
  }

  double leastWall() {
    return quantile(Child.Cost::wallNanos, 0);
  }

  /** Median of the time that processors were busy in the program and in the kernel for it. */
  double medianCpu() {
    return quantile(run -> run.userNanos() + run.systemNanos(), 0.5);
  }

  double leastCpu() {
    return quantile(run -> run.userNanos() + run.systemNanos(), 0);
  }

  double medianUser() {
    return quantile(Child.Cost::userNanos, 0.5);
  }

  private double quantile(ToLongFunction<Child.Cost> value, double part) {
    long[] sorted = runs.stream().mapToLong(value).toArray();
    return quantile(sorted, part) / 1e6;
  }

  /** The value below which a part of all values lies, between its two neighbours. */
  static double quantile(long[] values, double part) {
    long[] sorted = values.clone();
    Arrays.sort(sorted);
    double at = part * (sorted.length - 1);
    int below = (int) at;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }
}
