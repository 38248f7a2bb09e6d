package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Predicate;

/**
 * NBD servers side by side: {@code imago serve} and {@code qemu-nbd}, with threads and with
 * io_uring, over Unix sockets, from the same image or from copies of it.
 *
 * <p>The servers of a case live through all of its rounds; before, each does so many requests that
 * a JVM has compiled what they need, however slow the machine is, and those are not measured. In
 * each round every server has its turn, in an order that changes from round to round, while the
 * others have nothing to do.
 */
final class NbdRows {
  private static final long MIB = 1 << 20;

  private final Settings settings;
  private final Inputs inputs;
  private final NbdLoad load;
  private final List<String> notes = new ArrayList<>();

  NbdRows(Settings settings, Inputs inputs) {
    this.settings = settings;
    this.inputs = inputs;
    this.load = new NbdLoad(settings.folder, settings.seconds);
  }

  /**
   * What the user asked for.
   *
   * @param folder for sockets and images
   * @param imago starts Imago's command line; its process must become the server
   * @param rounds how often each server has its turn
   * @param seconds how long a run takes
   */
  record Settings(Path folder, List<String> imago, int rounds, double seconds) {}

  /** Which server. */
  private enum Peer {
    QEMU_THREADS,
    QEMU_IO_URING,
    IMAGO
  }

  /** From what is served. */
  private enum Disk {
    /** All servers have the same file, read-only. */
    SHARED,
    /** Each has a copy of its own. */
    COPIED,
    /** As {@link #COPIED}, a new one for each run, and a new server. */
    NEW
  }

  /** One run of a case. */
  private interface Run {
    NbdLoad.Done on(String uri, int number) throws IOException;
  }

  private record Case(String name, Goal goal, Disk disk, Source source, Run warmUp, Run run) {
    Case(String name, Goal goal, Disk disk, Source source, Run run) {
      this(name, goal, disk, source, run, run);
    }

    /** Its name in a table of such cases. */
    String shown() {
      return name.replace("nbd: ", "");
    }
  }

  private interface Source {
    Path path() throws IOException;
  }

  /**
   * Measures all cases whose names are wanted.
   *
   * @param out is given Markdown, each row as soon as it is known; nothing if there are none
   * @return a bar for each case that did not fail
   */
  List<Chart.Bar> report(Predicate<String> wanted, Consumer<String> out) {
    List<Chart.Bar> bars = new ArrayList<>();
    List<Case> cases = cases().stream().filter(each -> wanted.test(each.name)).toList();
    if (cases.isEmpty()) {
      return bars;
    }
    out.accept("\n" + NbdReport.HEADING);
    for (Case each : cases) {
      System.err.println("measuring " + each.name);
      try {
        NbdReport.Line line = measure(each);
        out.accept(NbdReport.row(line));
        bars.add(line.bar());
      } catch (IOException e) {
        System.err.println(e.getMessage());
        out.accept(NbdReport.failed(each.shown()));
      }
    }
    notes.stream().distinct().forEach(note -> out.accept("\n" + note + "\n"));
    return bars;
  }

  private List<Case> cases() {
    List<Case> cases = new ArrayList<>();
    Goal sixteen = Goal.wall(1.5);
    Goal synced = Goal.wall(1.2);
    cases.add(fio("random read of 4 KiB, 1 in flight", Goal.wall(1.5), "randread", "4k", 1, 1));
    cases.add(fio("random write of 4 KiB, 1 in flight", Goal.NONE, "randwrite", "4k", 1, 1));
    cases.add(fio("random read of 4 KiB, 16 in flight", Goal.wall(1.7), "randread", "4k", 16, 1));
    cases.add(
        new Case(
            "nbd: cold random read of 4 KiB, 16 in flight",
            Goal.wall(1.2),
            Disk.SHARED,
            inputs::randomQcow2,
            (uri, _) -> load.fioOnce(uri, warmUp("randread", "4k")),
            (uri, _) -> {
              inputs.forget(inputs.randomQcow2());
              return load.fio(uri, "--rw=randread", "--bs=4k", "--iodepth=16");
            }));
    cases.add(fio("random write of 4 KiB, 16 in flight", sixteen, "randwrite", "4k", 16, 1));
    cases.add(
        new Case(
            "nbd: allocating random write of 4 KiB, 16 in flight",
            sixteen,
            Disk.COPIED,
            inputs::emptyQcow2,
            this::allocating));
    cases.add(fio("sequential read of 1 MiB, 4 in flight", Goal.NONE, "read", "1m", 4, 1));
    cases.add(fio("sequential write of 1 MiB, 4 in flight", Goal.NONE, "write", "1m", 4, 1));
    for (int jobs : new int[] {1, 8}) {
      String who = jobs == 1 ? "1 job" : jobs + " jobs";
      cases.add(
          new Case(
              "nbd: random write of 4 KiB with FUA, " + who,
              synced,
              Disk.COPIED,
              inputs::disk,
              (uri, _) -> load.fioOnce(uri, warmUp("randwrite", "4k", "--fsync=1")),
              (uri, _) -> load.fua(uri, jobs)));
      String name = "random write of 4 KiB, fsync=1, " + who;
      cases.add(fio(name, synced, "randwrite", "4k", 1, jobs, "--fsync=1"));
    }
    long bytes = inputs.dataBytes();
    cases.add(
        new Case(
            "nbd: nbdcopy of " + size(bytes) + " from it",
            Goal.wall(1.3),
            Disk.SHARED,
            inputs::randomQcow2,
            (uri, _) -> load.copy(uri, "null:", bytes)));
    long half = inputs.uploadBytes();
    cases.add(
        new Case(
            "nbd: nbdcopy of " + size(half) + " to it",
            Goal.NONE,
            Disk.NEW,
            inputs::emptyCopy,
            (uri, _) -> load.copy(inputs.upload().toString(), uri, half)));
    return cases;
  }

  private Case fio(
      String name, Goal goal, String what, String block, int depth, int jobs, String... more) {
    List<String> words = new ArrayList<>(List.of("--rw=" + what, "--bs=" + block));
    words.addAll(List.of("--iodepth=" + depth, "--numjobs=" + jobs));
    words.addAll(List.of(more));
    String[] options = words.toArray(new String[0]);
    return new Case(
        "nbd: " + name,
        goal,
        what.endsWith("read") ? Disk.SHARED : Disk.COPIED,
        inputs::disk,
        (uri, _) -> load.fioOnce(uri, warmUp(what, block, more)),
        (uri, _) -> load.fio(uri, options));
  }

  /** The same requests, many at once where they do not wait for a disk. */
  private List<String> warmUp(String what, String block, String... more) {
    List<String> words = new ArrayList<>(List.of("--rw=" + what, "--bs=" + block));
    boolean waits = more.length > 0;
    words.add("--iodepth=" + (waits ? 1 : 16));
    int perSecond = waits ? 250 : block.equals("4k") ? 5000 : 250;
    words.add("--number_ios=" + Math.max(1, (long) (settings.seconds * perSecond)));
    words.addAll(List.of(more));
    return words;
  }

  /** Each run where no other one has written. */
  private NbdLoad.Done allocating(String uri, int number) throws IOException {
    long room = 4096 * MIB;
    List<String> words = new ArrayList<>(List.of("--rw=randwrite", "--bs=4k", "--iodepth=16"));
    words.addAll(List.of("--offset=" + number * room, "--size=" + room));
    words.add("--number_ios=" + inputs.requests() / 8);
    return load.fioOnce(uri, words);
  }

  private static String size(long bytes) {
    return bytes >= 1024 * MIB ? bytes / (1024 * MIB) + " GiB" : bytes / MIB + " MiB";
  }

  private NbdReport.Line measure(Case which) throws IOException {
    List<Entrant> entrants = new ArrayList<>();
    try {
      for (Peer peer : Peer.values()) {
        try {
          entrants.add(new Entrant(which, peer));
        } catch (IOException e) {
          if (peer != Peer.QEMU_IO_URING) {
            throw e;
          }
          notes.add("qemu-nbd with io_uring does not run here: " + e.getMessage());
        }
      }
      for (int round = 0; round < settings.rounds; round++) {
        for (Entrant next : Samples.inTurn(entrants, round)) {
          next.run(round + 1);
        }
      }
    } finally {
      for (Entrant entrant : entrants) {
        entrant.close();
      }
    }
    Samples imago = entrants.removeLast().samples;
    Entrant best = entrants.getFirst();
    for (Entrant other : entrants) {
      best = other.samples.medianWall() < best.samples.medianWall() ? other : best;
    }
    String how = best.peer == Peer.QEMU_THREADS ? "threads" : "io_uring";
    return new NbdReport.Line(which.shown(), which.goal, best.samples, how, imago);
  }

  /** A server in a case. */
  private final class Entrant {
    private final Case which;
    private final Peer peer;
    private final Path socket;
    private final Path own;

    /** Of 1000 units: what is milliseconds elsewhere is microseconds of a single one. */
    private final Samples samples = new Samples();

    private NbdServerProcess server;

    /** Starts the server, and has it do what is not measured. */
    Entrant(Case which, Peer peer) throws IOException {
      this.which = which;
      this.peer = peer;
      this.socket = settings.folder.resolve(peer + ".sock");
      this.own = settings.folder.resolve("nbd-" + peer + ".qcow2");
      copy();
      try {
        this.server = new NbdServerProcess(command(), socket);
      } catch (IOException e) {
        removeCopy();
        throw e;
      }
      try {
        which.warmUp.on(server.uri(), 0);
      } catch (IOException e) {
        close();
        throw e;
      }
    }

    private void copy() throws IOException {
      if (which.disk != Disk.SHARED) {
        Files.copy(which.source.path(), own, StandardCopyOption.REPLACE_EXISTING);
      }
    }

    private List<String> command() throws IOException {
      List<String> words = new ArrayList<>();
      if (peer == Peer.IMAGO) {
        words.addAll(settings.imago);
        words.add("serve");
      } else {
        String aio = peer == Peer.QEMU_THREADS ? "threads" : "io_uring";
        words.addAll(List.of("qemu-nbd", "--discard=unmap", "--aio=" + aio));
      }
      words.addAll(List.of("-t", "-e", "16", "-f", "qcow2", "--cache=writeback"));
      words.addAll(List.of("-k", socket.toString()));
      if (which.disk == Disk.SHARED) {
        words.add("-r");
      }
      words.add((which.disk == Disk.SHARED ? which.source.path() : own).toString());
      return words;
    }

    void run(int number) throws IOException {
      if (which.disk == Disk.NEW) {
        server.close();
        copy();
        server = new NbdServerProcess(command(), socket);
      }
      if (which.disk != Disk.SHARED) {
        inputs.settle(own);
      }
      NbdServerProcess.Busy before = server.busy();
      NbdLoad.Done done = which.run.on(server.uri(), number);
      NbdServerProcess.Busy after = server.busy();
      double each = 1000 / done.units();
      samples.add(
          new Child.Cost(
              0,
              (long) (done.nanos() * each),
              (long) ((after.userNanos() - before.userNanos()) * each),
              (long) ((after.systemNanos() - before.systemNanos()) * each)));
    }

    void close() throws IOException {
      server.close();
      removeCopy();
    }

    private void removeCopy() throws IOException {
      if (which.disk != Disk.SHARED) {
        Files.deleteIfExists(own);
      }
    }
  }
}
