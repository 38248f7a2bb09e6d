package dev.imago.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What clients do to an NBD server: one run each, by other people's programs. */
final class NbdLoad {
  /** Of the JSON that fio prints; what a job does not do has 0 of it. */
  private static final Pattern DONE = Pattern.compile("\"total_ios\" : ([0-9]+)");

  private static final Pattern RATE = Pattern.compile("\"iops\" : ([0-9.]+)");

  private final Path out;
  private final Path err;
  private final double seconds;

  /**
   * A place for what the programs print.
   *
   * @param seconds how long a run takes whose length is not given by what it does
   */
  NbdLoad(Path folder, double seconds) {
    this.out = folder.resolve("out");
    this.err = folder.resolve("err");
    this.seconds = seconds;
  }

  /**
   * What was done.
   *
   * @param units requests, or MiB
   * @param nanos how long it took, without the start of the client where that tells it
   */
  record Done(double units, double nanos) {}

  /** fio for the time that a run takes. */
  Done fio(String uri, String... options) throws IOException {
    List<String> words = new ArrayList<>(List.of(options));
    words.addAll(List.of("--time_based", "--runtime=" + (long) (seconds * 1e6) + "us"));
    return fioOnce(uri, words);
  }

  /** fio until it has done what the options say. */
  Done fioOnce(String uri, List<String> options) throws IOException {
    List<String> words = new ArrayList<>(List.of("fio", "--name=nbd", "--ioengine=nbd"));
    words.addAll(List.of("--uri=" + uri, "--output-format=json", "--group_reporting"));
    // Each run asks for other blocks; a block may come twice.
    words.addAll(List.of("--randrepeat=0", "--norandommap"));
    words.addAll(options);
    run(words);
    String printed = Files.readString(out);
    // A sum of what was read, written and trimmed; what is synced has no rate.
    double rate = sum(RATE, printed);
    double requests = sum(DONE, printed.replaceAll("(?s)\"sync\" : \\{.*?\\}", ""));
    if (rate <= 0 || requests <= 0) {
      throw new IOException(String.join(" ", words) + " has done nothing: " + printed);
    }
    return new Done(requests, requests / rate * 1e9);
  }

  private static double sum(Pattern number, String text) {
    double sum = 0;
    for (Matcher found = number.matcher(text); found.find(); ) {
      sum += Double.parseDouble(found.group(1));
    }
    return sum;
  }

  /**
   * Writes of 4 KiB with FUA, which fio's engine does not know, one behind the other.
   *
   * @param jobs how many clients do so at a time, each with a connection and a process of its own
   */
  Done fua(String uri, int jobs) throws IOException {
    String script =
        """
        import concurrent.futures, multiprocessing, random, sys, time
        import nbd
        seconds, jobs, uri = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
        fork = multiprocessing.get_context("fork")
        ready = fork.Barrier(jobs, timeout=60)
        def job(_):
            h = nbd.NBD()
            h.connect_uri(uri)
            data = bytes(range(256)) * 16
            blocks = h.get_size() // 4096
            ready.wait()
            start = now = time.monotonic()
            count = 0
            while now < start + seconds:
                h.pwrite(data, random.randrange(blocks) * 4096, nbd.CMD_FLAG_FUA)
                count += 1
                now = time.monotonic()
            return count, now - start
        with concurrent.futures.ProcessPoolExecutor(jobs, fork) as workers:
            done = list(workers.map(job, range(jobs)))
        print(sum(count for count, _ in done), max(took for _, took in done))
        """;
    // The system's Python: another one on the PATH lacks the module.
    run(List.of("/usr/bin/python3", "-c", script, "" + seconds, "" + jobs, uri));
    String[] words = Files.readString(out).strip().split(" ", -1);
    return new Done(Double.parseDouble(words[0]), Double.parseDouble(words[1]) * 1e9);
  }

  /** nbdcopy, in whose time its own start is. */
  Done copy(String from, String to, long bytes) throws IOException {
    return new Done(bytes / (double) (1 << 20), run(List.of("nbdcopy", from, to)).wallNanos());
  }

  private Child.Cost run(List<String> command) throws IOException {
    Child.Cost cost = Child.run(command, out, err);
    if (cost.exitCode() != 0) {
      throw new IOException(
          "%s ended with %d: %s"
              .formatted(String.join(" ", command), cost.exitCode(), Files.readString(err)));
    }
    return cost;
  }
}
