package dev.imago.cli;

import dev.imago.image.Snapshot;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Internal snapshots, as {@code info} tells of them. */
final class SnapshotList {
  private static final long SECOND = 1_000_000_000;

  private SnapshotList() {}

  static void appendHuman(StringBuilder text, List<Snapshot> snapshots) {
    text.append("Snapshot list:\n");
    text.append(
        "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n");
    for (Snapshot snapshot : snapshots) {
      StringBuilder size = new StringBuilder();
      HumanSize.append(size, snapshot.vmStateSize());
      long count = snapshot.instructionCount();
      text.append(
          String.format(
              Locale.ROOT,
              "%-9s %-16s %8s%20s%13s%11s\n",
              snapshot.id(),
              snapshot.name(),
              size,
              date(snapshot),
              clock(snapshot.vmClock()),
              count == -1 ? "" : Long.toString(count)));
    }
  }

  private static String date(Snapshot snapshot) {
    LocalDateTime date = LocalDateTime.ofInstant(snapshot.date(), ZoneId.systemDefault());
    return String.format(Locale.ROOT, "%1$tY-%1$tm-%1$td %1$tH:%1$tM:%1$tS", date);
  }

  private static String clock(long nanoseconds) {
    long seconds = Long.divideUnsigned(nanoseconds, SECOND);
    return String.format(
        Locale.ROOT,
        "%02d:%02d:%02d.%03d",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        Long.remainderUnsigned(nanoseconds, SECOND) / 1_000_000);
  }

  static List<Dict> toDicts(List<Snapshot> snapshots) {
    List<Dict> dicts = new ArrayList<>();
    for (Snapshot snapshot : snapshots) {
      Instant date = snapshot.date();
      Dict dict =
          new Dict()
              .put("id", snapshot.id())
              .put("name", snapshot.name())
              .put("vm-state-size", snapshot.vmStateSize())
              .put("date-sec", date.getEpochSecond())
              .put("date-nsec", date.getNano())
              .put("vm-clock-sec", Long.divideUnsigned(snapshot.vmClock(), SECOND))
              .put("vm-clock-nsec", Long.remainderUnsigned(snapshot.vmClock(), SECOND));
      if (snapshot.instructionCount() != -1) {
        dict.put("icount", snapshot.instructionCount());
      }
      dicts.add(dict);
    }
    return dicts;
  }
}
