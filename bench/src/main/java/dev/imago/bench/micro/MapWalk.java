package dev.imago.bench.micro;

import dev.imago.Images;
import dev.imago.image.Image;
import dev.imago.image.References;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** A walk over all extents of an image in which every second cluster has data: 16,000 of each. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
public class MapWalk {
  private static final int RUNS = 16_000;
  private static final long STRIDE = 128 << 10;

  private Path folder;
  private Image qcow2;

  @Setup
  public void make() throws IOException {
    folder = Disks.folder();
    Path path = folder.resolve("qcow2");
    ByteBuffer buffer = ByteBuffer.allocateDirect(4096).put(0, (byte) 1);
    try (Image image = Disks.create(path, "qcow2", RUNS * STRIDE)) {
      for (int i = 0; i < RUNS; i++) {
        image.write(buffer.clear(), i * STRIDE);
      }
    }
    qcow2 = Images.openReadOnly(path, References.deny());
  }

  @TearDown
  public void delete() throws IOException {
    qcow2.close();
    Disks.delete(folder);
  }

  @Benchmark
  public long extents() {
    long count = qcow2.extents(0, qcow2.size()).count();
    if (count != 2 * RUNS) {
      throw new IllegalStateException(count + " extents");
    }
    return count;
  }
}
