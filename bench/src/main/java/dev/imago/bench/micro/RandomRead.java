package dev.imago.bench.micro;

import dev.imago.Images;
import dev.imago.image.Image;
import dev.imago.image.References;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** Random reads of 4 KiB from the page cache: images, and the file channel that is the floor. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class RandomRead {
  private static final int LENGTH = 4096;

  /** Size of the disk in MiB. */
  @Param("1024")
  public long megabytes;

  private Path folder = Path.of("");
  private FileChannel channel;
  private Image raw;
  private Image qcow2;

  /** What each thread has of its own. */
  @State(Scope.Thread)
  public static class Reader {
    final ByteBuffer buffer = ByteBuffer.allocateDirect(LENGTH);
    final SplittableRandom random = new SplittableRandom();

    long next(long size) {
      buffer.clear();
      return random.nextLong(size / LENGTH) * LENGTH;
    }
  }

  @Setup
  public void make() throws IOException {
    folder = Disks.folder();
    for (String format : new String[] {"raw", "qcow2"}) {
      try (Image image = Disks.create(folder.resolve(format), format, size())) {
        Disks.fill(image, size());
      }
    }
    channel = FileChannel.open(folder.resolve("raw"));
    raw = Images.openReadOnly(folder.resolve("raw"), References.deny());
    qcow2 = Images.openReadOnly(folder.resolve("qcow2"), References.deny());
  }

  @TearDown
  public void delete() throws IOException {
    channel.close();
    raw.close();
    qcow2.close();
    Disks.delete(folder);
  }

  private long size() {
    return megabytes << 20;
  }

  @Benchmark
  public ByteBuffer fileChannel(Reader reader) throws IOException {
    long at = reader.next(size());
    if (channel.read(reader.buffer, at) != LENGTH) {
      throw new IOException("short read");
    }
    return reader.buffer;
  }

  @Benchmark
  public ByteBuffer raw(Reader reader) throws IOException {
    raw.read(reader.buffer, reader.next(size()));
    return reader.buffer;
  }

  @Benchmark
  public ByteBuffer qcow2(Reader reader) throws IOException {
    qcow2.read(reader.buffer, reader.next(size()));
    return reader.buffer;
  }
}
