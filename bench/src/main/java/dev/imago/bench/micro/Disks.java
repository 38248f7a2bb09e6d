package dev.imago.bench.micro;

import dev.imago.CreateOptions;
import dev.imago.Images;
import dev.imago.OpenOptions;
import dev.imago.image.Image;
import dev.imago.image.References;
import dev.imago.image.SyncMode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;

/** Makes the images that the benchmarks work on, in a folder of their own. */
final class Disks {
  private Disks() {}

  /** A folder in the working directory, which must be on a disk. */
  static Path folder() throws IOException {
    return Files.createTempDirectory(Path.of("").toAbsolutePath(), "imago-jmh-");
  }

  static void delete(Path folder) throws IOException {
    try (var files = Files.list(folder)) {
      for (Path file : (Iterable<Path>) files::iterator) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }

  static Image create(Path path, String format, long size) throws IOException {
    Images.create(path, CreateOptions.of(format, size));
    return Images.open(path, writable());
  }

  static OpenOptions writable() {
    return OpenOptions.of(References.deny()).writable(true).sync(SyncMode.NONE);
  }

  /** Fills a disk with random data from its start to {@code length}. */
  static void fill(Image image, long length) throws IOException {
    var random = new SplittableRandom(1);
    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
    for (long at = 0; at < length; at += buffer.capacity()) {
      buffer.clear();
      while (buffer.hasRemaining()) {
        buffer.putLong(random.nextLong());
      }
      image.write(buffer.flip(), at);
    }
  }
}
