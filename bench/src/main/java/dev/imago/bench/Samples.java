package dev.imago.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToLongFunction;

/** What the runs of one program have cost. Times are in milliseconds. */
final class Samples {
  private final List<Child.Cost> runs = new ArrayList<>();

  private final List<Long> madeBytes = new ArrayList<>();

  private long peakKib;

  /**
   * The order in which all have their turn in a round: one of all that there are, each as often as
   * any other. Were it only turned from round to round, each would always come after the same other
   * one, whose memory the system is then still busy with.
   */
  static <T> List<T> inTurn(List<T> all, int round) {
    List<T> left = new ArrayList<>(all);
    List<T> order = new ArrayList<>();
    for (int number = round; !left.isEmpty(); ) {
      int count = left.size();
      order.add(left.remove(number % count));
      number /= count;
    }
    return order;
  }

  void add(Child.Cost run) {
    runs.add(run);
  }

  /** A run of which only the time is known. */
  void add(long wallNanos) {
    runs.add(new Child.Cost(0, wallNanos, 0, 0));
  }

  /** The most memory that a run of its own had, in KiB. */
  void peakKib(long peak) {
    peakKib = peak;
  }

  double peakMib() {
    return peakKib / 1024.0;
  }

  /** How long the file is that a run has made, in bytes. */
  void made(long bytes) {
    madeBytes.add(bytes);
  }

  double medianMadeMib() {
    return quantile(madeBytes.stream().mapToDouble(Long::doubleValue).toArray(), 0.5) / (1 << 20);
  }

  double medianWall() {
    return quantile(Child.Cost::wallNanos, 0.5);
  }

  double leastWall() {
    return quantile(Child.Cost::wallNanos, 0);
  }

  double mostWall() {
    return quantile(Child.Cost::wallNanos, 1);
  }

  /** Median of the time that processors were busy in the program and in the kernel for it. */
  double medianCpu() {
    return quantile(run -> run.userNanos() + run.systemNanos(), 0.5);
  }

  private double quantile(ToLongFunction<Child.Cost> value, double part) {
    return quantile(runs.stream().mapToLong(value).asDoubleStream().toArray(), part) / 1e6;
  }

  /** The value below which a part of all values lies, between its two neighbours; 0 of none. */
  static double quantile(double[] values, double part) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    if (sorted.length == 0) {
      return 0;
    }
    double at = part * (sorted.length - 1);
    int below = (int) at;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }
}
