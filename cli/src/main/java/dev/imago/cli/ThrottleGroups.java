package dev.imago.cli;

import dev.imago.filter.ThrottleGroup;
import dev.imago.filter.ThrottleGroup.Kind;
import dev.imago.filter.ThrottleGroup.Limit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What {@code --object throttle-group,id=…,x-bps-total=…} brings: limits by name, for images that
 * say {@code driver=throttle,throttle-group=…}. A thing of the process, like {@link Safety}: all
 * images of one command share its groups.
 */
final class ThrottleGroups {
  private static final long MAX_SECONDS = 0xffff_ffffL;
  private static final long MAX = 1_000_000_000_000_000L;

  /** Null, the usual thing, costs no class at start-up. */
  private static @Nullable Map<String, ThrottleGroup> groups;

  private ThrottleGroups() {}

  /** A command begins. */
  static void begin() {
    groups = null;
  }

  /** Takes what stands behind {@code throttle-group,}. */
  static void add(List<OptionList.Pair> pairs) throws Failure {
    Map<String, Long> numbers = new HashMap<>();
    String id = null;
    for (OptionList.Pair pair : pairs) {
      if (pair.name().equals("id")) {
        id = pair.value();
      } else {
        put(numbers, pair);
      }
    }
    String name = Secrets.requireIdentifier(id);
    Map<String, ThrottleGroup> known = groups == null ? new HashMap<>() : groups;
    if (known.containsKey(name)) {
      throw new Failure(
          "attempt to add duplicate property '" + name + "' to object (type 'container')");
    }
    known.put(name, group(numbers));
    groups = known;
  }

  private static void put(Map<String, Long> numbers, OptionList.Pair pair) throws Failure {
    String name = pair.name();
    String limit =
        name.startsWith("x-")
            ? name.substring(2)
            : name.startsWith("limits.") ? name.substring("limits.".length()) : "";
    if (!limit.equals("iops-size")
        && !limit.matches("(bps|iops)-(total|read|write)(-max(-length)?)?")) {
      throw new Failure("Parameter '" + name + "' is unexpected");
    }
    if (!pair.value().matches("-?[0-9]{1,20}")) {
      throw new Failure("Parameter '" + name + "' expects integer");
    }
    if (pair.value().startsWith("-")) {
      throw new Failure("Property values cannot be negative");
    }
    long number;
    try {
      number = Long.parseUnsignedLong(pair.value());
    } catch (NumberFormatException e) {
      throw new Failure("Parameter '" + name + "' expects integer", 1, e);
    }
    if (limit.endsWith("-length") && (number < 0 || number > MAX_SECONDS)) {
      throw new Failure(name + " value must be in the range [0, " + MAX_SECONDS + "]");
    }
    numbers.put(limit, number);
  }

  private static ThrottleGroup group(Map<String, Long> numbers) throws Failure {
    List<Limit> limits = new ArrayList<>();
    for (String unit : List.of("bps", "iops")) {
      for (String max : List.of("", "-max")) {
        long total = numbers.getOrDefault(unit + "-total" + max, 0L);
        long read = numbers.getOrDefault(unit + "-read" + max, 0L);
        long write = numbers.getOrDefault(unit + "-write" + max, 0L);
        if (total != 0 && (read != 0 || write != 0)) {
          throw new Failure(
              "bps/iops/max total values and read/write values cannot be used at the same time");
        }
      }
    }
    for (String unit : List.of("bps", "iops")) {
      for (Kind kind : Kind.values()) {
        String name =
            unit + "-" + (kind == Kind.TOTAL ? "total" : kind == Kind.READ ? "read" : "write");
        Limit limit =
            limit(
                kind,
                unit.equals("bps"),
                numbers.getOrDefault(name, 0L),
                numbers.getOrDefault(name + "-max", 0L),
                numbers.getOrDefault(name + "-max-length", 1L));
        if (limit != null) {
          limits.add(limit);
        }
      }
    }
    return new ThrottleGroup(limits, Math.max(0, numbers.getOrDefault("iops-size", 0L)));
  }

  /** One limit; null if there is none. */
  private static @Nullable Limit limit(
      Kind kind, boolean bytes, long average, long burst, long seconds) throws Failure {
    if (average < 0 || average > MAX || burst < 0 || burst > MAX) {
      throw new Failure("bps/iops/max values must be within [0, " + MAX + "]");
    }
    if (seconds == 0) {
      throw new Failure("the burst length cannot be 0");
    }
    if (seconds != 1 && burst == 0) {
      throw new Failure("burst length set without burst rate");
    }
    if (burst != 0 && average == 0) {
      throw new Failure("bps_max/iops_max require corresponding bps/iops values");
    }
    if (burst != 0 && burst < average) {
      throw new Failure("bps_max/iops_max cannot be lower than bps/iops");
    }
    if (seconds < 0 || (burst != 0 && seconds > MAX / burst)) {
      throw new Failure("burst length too high for this burst rate");
    }
    return average == 0 ? null : new Limit(kind, bytes, average, burst, seconds);
  }

  /** The group of that name. */
  static ThrottleGroup require(@Nullable String id) throws Failure {
    if (id == null) {
      throw new Failure("Please specify a throttle group");
    }
    ThrottleGroup group = groups == null ? null : groups.get(id);
    if (group == null) {
      throw new Failure("Throttle group '" + id + "' does not exist");
    }
    return group;
  }
}
