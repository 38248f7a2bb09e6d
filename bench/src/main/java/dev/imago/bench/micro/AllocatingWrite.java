package dev.imago.bench.micro;

import dev.imago.image.Image;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Writes of 4 KiB, each into a cluster that has no host cluster yet; a file channel that writes as
 * much at the same distance is the floor. A fixed number of writes into a new image each iteration.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 10)
@Measurement(iterations = 10)
public class AllocatingWrite {
  /** Writes in one iteration: 256 MiB of guest clusters. */
  static final int WRITES = 4096;

  private static final int LENGTH = 4096;
  private static final long STRIDE = 64 << 10;

  private final ByteBuffer buffer = ByteBuffer.allocateDirect(LENGTH).put(0, (byte) 1);
  private Path folder;
  private FileChannel channel;
  private Image qcow2;

  @Setup(Level.Iteration)
  public void make() throws IOException {
    folder = Disks.folder();
    qcow2 = Disks.create(folder.resolve("qcow2"), "qcow2", WRITES * STRIDE);
    channel =
        FileChannel.open(
            folder.resolve("raw"), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
  }

  @TearDown(Level.Iteration)
  public void delete() throws IOException {
    channel.close();
    qcow2.close();
    Disks.delete(folder);
  }

  @Benchmark
  @OperationsPerInvocation(WRITES)
  public void fileChannel() throws IOException {
    for (int i = 0; i < WRITES; i++) {
      if (channel.write(buffer.clear(), i * STRIDE) != LENGTH) {
        throw new IOException("short write");
      }
    }
  }

  @Benchmark
  @OperationsPerInvocation(WRITES)
  public void qcow2() throws IOException {
    for (int i = 0; i < WRITES; i++) {
      qcow2.write(buffer.clear(), i * STRIDE);
    }
  }
}
