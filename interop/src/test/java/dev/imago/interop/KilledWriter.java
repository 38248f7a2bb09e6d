package dev.imago.interop;

import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.References;
import dev.imago.testing.Stamp;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;

/**
 * A process that writes to an image until it is killed, and says on its standard output what it is
 * about to do and what it has done: {@code begin}, {@code done}, {@code flushing}, {@code flushed}.
 */
final class KilledWriter {
  static final int WRITERS = 3;

  private KilledWriter() {}

  /** What a writer does next. */
  enum Kind {
    WRITE,
    ZERO,
    DISCARD
  }

  /**
   * One step of one writer; the same in the process that does it and in the one that judges.
   *
   * @param version stamped into what is written
   */
  record Step(Kind kind, long guestOffset, int length, long version) {}

  /** The steps of one writer; each has every third run of four clusters for itself. */
  static final class Steps {
    private final RandomGenerator random;
    private final int writer;
    private final int clusterSize;
    private final long runs;
    private long version;

    Steps(long seed, int writer, int clusterSize, long size) {
      this.random = new SplittableRandom(seed * 10 + writer);
      this.writer = writer;
      this.clusterSize = clusterSize;
      this.runs = size / (4L * clusterSize) / WRITERS;
    }

    Step next() {
      version++;
      long run = (random.nextLong(runs) * WRITERS + writer) * 4 * clusterSize;
      int cluster = random.nextInt(4);
      int most = (4 - cluster) * clusterSize;
      return switch (random.nextInt(8)) {
        case 0 -> new Step(Kind.ZERO, run + cluster * (long) clusterSize, most, version);
        case 1 -> new Step(Kind.DISCARD, run + cluster * (long) clusterSize, most, version);
        default -> {
          int from = random.nextInt(most / 512) * 512;
          int length = 512 * (1 + random.nextInt((most - from) / 512));
          yield new Step(Kind.WRITE, run + cluster * (long) clusterSize + from, length, version);
        }
      };
    }
  }

  /** Arguments: image, seed. Runs until it is killed. */
  public static void main(String[] args) throws IOException {
    long seed = Long.parseLong(args[1]);
    OpenOptions options =
        OpenOptions.of(References.sameFolder()).format("qcow2").writable(true).cacheBytes(16 << 10);
    Image image = Images.open(Path.of(args[0]), options);
    List<Thread> threads = new ArrayList<>();
    for (int writer = 0; writer < WRITERS; writer++) {
      int id = writer;
      threads.add(Thread.ofPlatform().start(() -> write(image, seed, id)));
    }
    while (threads.stream().allMatch(Thread::isAlive)) {
      say("flushing");
      image.flush();
      say("flushed");
    }
  }

  private static void write(Image image, long seed, int id) {
    Steps steps = new Steps(seed, id, image.clusterSize(), image.size());
    try {
      while (true) {
        Step step = steps.next();
        say("begin " + id);
        switch (step.kind) {
          case WRITE -> {
            byte[] bytes = Stamp.bytes(seed, step.guestOffset, step.length, step.version);
            image.write(ByteBuffer.wrap(bytes), step.guestOffset);
          }
          case ZERO -> image.writeZeroes(step.guestOffset, step.length, true, false);
          case DISCARD -> image.discard(step.guestOffset, step.length, Discard.TO_ZERO);
        }
        say("done " + id);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);

  /** Each line in one system call, so that what was said is not lost with the process. */
  private static void say(String line) throws IOException {
    OUT.write((line + "\n").getBytes(StandardCharsets.UTF_8));
  }
}
