package dev.imago.qcow2;

import dev.imago.image.CheckResult;
import java.util.ArrayList;
import java.util.List;

/** What a check has found so far: counts of everything, the words of the first ten thousand. */
final class Findings {
  /** Overlaps of structures beyond this are not looked for. */
  static final int MAX_OVERLAPS = 10_000;

  private final List<String> lines = new ArrayList<>();
  private long corruptions;
  private long leaks;
  private long errors;
  private long fixed;

  /** Adds something that endangers data. */
  void corruption(String format, Object... arguments) {
    corruptions++;
    line(format, arguments);
  }

  /** Adds a cluster that is counted too often. */
  void leak(String format, Object... arguments) {
    leaks++;
    line(format, arguments);
  }

  /** Adds something that could not be looked at. */
  void error(String format, Object... arguments) {
    errors++;
    line(format, arguments);
  }

  /**
   * Adds a flag that is wrong, or was until now.
   *
   * @param format without the word that says which
   */
  @SuppressWarnings("AnnotateFormatMethod")
  void flag(boolean fixed, String format, Object... arguments) {
    if (fixed) {
      fixed("Repairing " + format, arguments);
    } else {
      corruption("ERROR " + format, arguments);
    }
  }

  /** Adds something that endangered data and has been set right. */
  void fixed(String format, Object... arguments) {
    fixed++;
    line(format, arguments);
  }

  /** Adds a line that counts nothing. */
  void note(String format, Object... arguments) {
    line(format, arguments);
  }

  /** Forgets everything but what another collection holds. */
  void replaceBy(Findings other) {
    lines.clear();
    lines.addAll(other.lines);
    corruptions = other.corruptions;
    leaks = other.leaks;
    errors = other.errors;
    fixed = other.fixed;
  }

  // Formatted only while lines are kept: a bad image has millions of findings.
  @SuppressWarnings("AnnotateFormatMethod")
  private void line(String format, Object... arguments) {
    if (lines.size() < CheckResult.MAX_FINDINGS) {
      lines.add(format.formatted(arguments));
    }
  }

  /** Whether there is anything at all. */
  boolean any() {
    return corruptions + leaks + errors > 0;
  }

  long corruptions() {
    return corruptions;
  }

  long leaks() {
    return leaks;
  }

  long errors() {
    return errors;
  }

  /** What endangered data until it was set right; not in {@link #corruptions}. */
  long fixed() {
    return fixed;
  }

  List<String> lines() {
    return lines;
  }
}
